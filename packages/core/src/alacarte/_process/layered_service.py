"""A deployment's service inside the layers that plugins give for it.

Layers depend on the deployment's version and options, which arrive with its snapshots. So they are
built when the first snapshot has arrived, and again when a snapshot brings other options.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from ..actors import DeploymentSnapshot
from ..aio import close_iterator, mark_retrieved
from ..errors import BackPressureError, DeploymentUnavailableError, ServeError
from ..foreign import describe_error
from ..layers import compose, deadline
from ..types import Call, DeploymentId, DeploymentInfo, Layer, Reply, Service, StagedLayer

__all__ = ["MAX_WAITING", "BuildLayers", "Describe", "LayeredService", "failing_service"]

log = logging.getLogger("alacarte.runtime")

MAX_WAITING = 1024
"""Calls that wait for a deployment's first snapshot. The router's queue has a limit of its own."""

BuildLayers = Callable[[DeploymentInfo], Sequence[StagedLayer[Layer]]]
"""Returns the layers around calls to a deployment, the outermost first."""
Describe = Callable[[DeploymentSnapshot], DeploymentInfo]


class LayeredService:
    """A `Service`. Called on the loop only.

    Its awaitables do not depend on the task that they run in, unless the call has a deadline: a
    layer that does depend on its task gets one of its own.

    Args:
        core: The service inside of all layers.
        follow: Follows the deployment's snapshots, where nobody does; each then gets to `update`.
    """

    def __init__(
        self,
        deployment: DeploymentId,
        core: Service,
        describe: Describe,
        build: BuildLayers,
        follow: Callable[[], object],
    ) -> None:
        self._deployment = deployment
        self._core = core
        self._describe = describe
        self._build = build
        self._follow = follow
        self._waiting = 0
        self._known = asyncio.Event()
        self._built: tuple[str, Mapping[str, Any]] | None = None
        self._unknown = deadline(deployment)(self._wait)
        self._service: Service = self._unknown

    def __call__(self, call: Call) -> Awaitable[Reply]:
        return self._service(call)

    def update(self, head: DeploymentSnapshot) -> None:
        """Build the layers for a snapshot, unless they are built already.

        Layers of a plugin that fails are not left out: calls fail until other options come.
        """
        if head.state == "absent":
            if self._built is None:
                self._serve(self._core)  # there is nothing to protect: every call fails
            return
        wanted = (head.code_version, head.options)
        if wanted == self._built:
            return
        self._built = wanted
        try:
            layers = self._build(self._describe(head))
            service = compose(self._core, [staged.layer for staged in layers])
        except Exception as error:  # foreign code; the plugin's failure is logged already
            log.error("calls to %s fail: a layer could not be built: %s", self._deployment, error)
            self._serve(failing_service(self._deployment, error))
            return
        task_free = all(staged.task_free for staged in layers)
        self._serve(service if task_free else _in_tasks(service))

    def forget(self) -> None:
        """Wait for a snapshot again: nobody follows the deployment any more."""
        self._built = None
        self._known.clear()
        self._service = self._unknown

    def close(self) -> None:
        """Let the calls that wait fail: no snapshot will come."""
        if self._service is self._unknown:
            self._serve(self._core)

    def _serve(self, service: Service) -> None:
        self._service = service
        self._known.set()

    async def _wait(self, call: Call) -> Reply:
        if self._waiting >= MAX_WAITING:
            raise BackPressureError(str(self._deployment), self._waiting, MAX_WAITING)
        self._follow()
        self._waiting += 1
        try:
            while self._service is self._unknown:
                await self._known.wait()
        finally:
            self._waiting -= 1
        return await self._service(call)


def _in_tasks(service: Service) -> Service:
    """Give each call a task, which its layers may look at. A call with a deadline has one."""

    def call(request: Call) -> Awaitable[Reply]:
        return joined(request) if request.deadline is None else service(request)

    async def joined(request: Call) -> Reply:
        task = asyncio.ensure_future(service(request))
        task.add_done_callback(mark_retrieved)
        try:
            return await task
        except asyncio.CancelledError:
            # A reply may have come in the very turn of the loop in which its caller gave it up.
            if task.done() and not task.cancelled() and task.exception() is None:
                await close_iterator(task.result().rest)  # nobody reads it
            raise

    return call


def failing_service(deployment: DeploymentId, reason: BaseException) -> Service:
    """Return what fails every call, in place of a service one of whose layers is missing."""
    message = str(reason) if isinstance(reason, ServeError) else describe_error(reason)

    async def call(request: Call) -> Reply:
        error = DeploymentUnavailableError(
            str(deployment), f"a layer around its calls could not be built: {message}"
        )
        error.client_message = "The application is unavailable: a plugin around it failed."
        raise error

    return call
