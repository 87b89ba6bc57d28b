"""A deployment's service, wrapped in the layers of plugins.

Layers depend on the deployment's version and options, which arrive with its snapshots. So the
layers are built from the first snapshot, and again when a snapshot has another version or other
options.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from ..actors import DeploymentSnapshot
from ..aio import close_iterator, mark_retrieved
from ..errors import BackPressureError
from ..layers import compose, deadline, failing_service
from ..types import Call, DeploymentId, DeploymentInfo, Layer, Reply, Service, StagedLayer

__all__ = ["MAX_WAITING", "BuildLayers", "Describe", "LayeredService"]

log = logging.getLogger("alacarte.runtime")

MAX_WAITING = 1024
"""Limit of calls that wait for a deployment's first snapshot. The router has its own limit."""

BuildLayers = Callable[[DeploymentInfo], Sequence[StagedLayer[Layer]]]
"""Returns the layers around calls to a deployment, the outermost first."""
Describe = Callable[[DeploymentSnapshot], DeploymentInfo]


class LayeredService:
    """A `Service` whose layers follow the deployment's snapshots. Called on the loop only.

    The returned awaitables may run in any task, unless the call has a deadline. Layers that depend
    on the current task get a task of their own.

    Args:
        core: The innermost service.
        follow: Watches the deployment's snapshots, if it is not watched yet; each snapshot is then
            passed to `update`.
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
        self._built: tuple[str, Mapping[str, object]] | None = None
        self._unknown = deadline(deployment)(self._wait)
        self._service: Service = self._unknown

    def __call__(self, call: Call) -> Awaitable[Reply]:
        return self._service(call)

    def update(self, snapshot: DeploymentSnapshot) -> None:
        """Build the layers for a snapshot, unless the current layers are for its options.

        If a plugin fails to build a layer, all calls fail until a snapshot has other options.
        """
        if snapshot.state == "absent":
            if self._built is None:
                self._serve(self._core)  # no layers necessary: the core fails every call
            return
        wanted = (snapshot.code_version, snapshot.options)
        if wanted == self._built:
            return
        self._built = wanted
        try:
            layers = self._build(self._describe(snapshot))
            service = compose(self._core, [staged.layer for staged in layers])
        except Exception as error:  # foreign code; the plugin's failure is logged already
            log.error("calls to %s fail: a layer could not be built: %s", self._deployment, error)
            self._serve(failing_service(self._deployment, error))
            return
        task_free = all(staged.task_free for staged in layers)
        self._serve(service if task_free else _in_tasks(service))

    def forget(self) -> None:
        """Drop the layers, and wait for a snapshot at the next call."""
        self._built = None
        self._known.clear()
        self._service = self._unknown

    def close(self) -> None:
        """Pass waiting calls to the core, which fails them: no snapshot will arrive."""
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
    """Run each call in a task of its own; the deadline layer has created one already."""

    def serve(call: Call) -> Awaitable[Reply]:
        return joined(call) if call.deadline is None else service(call)

    async def joined(call: Call) -> Reply:
        task = asyncio.ensure_future(service(call))
        task.add_done_callback(mark_retrieved)
        try:
            return await task
        except asyncio.CancelledError:
            # The reply may have arrived in the same iteration of the loop as the cancellation.
            if task.done() and not task.cancelled() and task.exception() is None:
                await close_iterator(task.result().rest)  # it has no reader
            raise

    return serve
