"""A reference to a Ray actor."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
from typing import Any

import ray
from ray import exceptions

from ..cluster_protocol import ActorDied
from ..deaths import cause_of_death, is_unexplained
from ..exits import ExitWatch, describe_exit, pid_namespace
from ..titles import title_of
from .control_store import CALLS
from .error_cause import cause_of, first_line
from .placement_groups import remove_groups

__all__ = ["RayActor", "check_connected", "connection_id"]

_EXITS = ExitWatch()
_EXIT_TIMEOUT_S = 2.0
"""For a process to exit after its connections have closed; a large process takes a while."""


class RayActor:
    """A reference to a Ray actor.

    Args:
        bundled: Whether the actor has a placement group; None for unknown.
        title: Title of the process; "" to derive the title from `name`.
        restarts: Ray restarts the actor when it dies, in another process.
    """

    def __init__(
        self,
        name: str,
        handle: Any,
        bundled: bool | None = None,
        title: str = "",
        *,
        restarts: bool = False,
    ) -> None:
        self.name = name
        self._restarts = restarts
        self._handle = handle
        self._bundled = bundled
        self._connection = connection_id()
        # While a call runs, Ray titles the process after the call.
        self._call_options = {"name": title or title_of(name)}
        self._exit: concurrent.futures.Future[int | None] | None = None

    async def call(self, method: str, *args: object) -> Any:
        check_connected(self._connection)
        try:
            return await self._handle.call.options(**self._call_options).remote(method, args)
        except exceptions.RayTaskError as error:
            raise cause_of(error) from None
        except exceptions.RayActorError as error:
            raise ActorDied(f"{self.name}: {await self._reason(error)}") from None

    async def begin(self, args: tuple[object, ...]) -> None:
        # Separately: Ray writes arguments of 100 KB and more to disk when its memory is short.
        try:
            process = await self._handle.start_actor.options(**self._call_options).remote(*args)
        except exceptions.RayTaskError as error:
            raise cause_of(error) from None
        except exceptions.RayError as error:
            raise ActorDied(f"{self.name} did not come up: {first_line(error)}") from None
        if not self._restarts:
            self._watch(process)

    async def wait_closed(self) -> str:
        while True:
            check_connected(self._connection)
            try:
                if self._exit is None:
                    self._watch(await self._handle.process.options(**self._call_options).remote())
                await self._handle.live.options(**self._call_options).remote()
            except exceptions.ActorUnavailableError:
                await asyncio.sleep(0.1)  # Ray does not know yet
            except exceptions.RayError as error:
                return await self._reason(error)

    def _watch(self, process: tuple[str, int]) -> None:
        """Watch for the exit of the process, if the process runs on this machine."""
        space, pid = process
        if space and space == pid_namespace():
            self._exit = _EXITS.watch(pid)

    async def _reason(self, error: exceptions.RayError) -> str:
        """Return why the process ended: the kernel's answer where Ray does not know."""
        text = str(error)
        if self._exit is not None and is_unexplained(text):
            with contextlib.suppress(TimeoutError):
                # The connections of a process may close before it exits.
                async with asyncio.timeout(_EXIT_TIMEOUT_S):
                    status = await asyncio.shield(asyncio.wrap_future(self._exit))
                    if status is not None:
                        return f"its process {describe_exit(status)}"
        return cause_of_death(text)

    def kill(self) -> None:
        check_connected(self._connection)
        ray.kill(self._handle, no_restart=True)
        if self._bundled is not False:
            # In a thread: the call blocks on Ray's control store, and the caller is an event loop.
            CALLS.submit(functools.partial(remove_groups, self.name))


def connection_id() -> str:
    """Return an id of this process's connection to Ray; "" when there is none.

    `ray.shutdown()` ends a connection, and `ray.init()` begins another, even to the same cluster.
    """
    if not ray.is_initialized():
        return ""
    # A job id is unique in its cluster, a node id everywhere.
    context = ray.get_runtime_context()
    return f"{context.get_node_id()}/{context.get_job_id()}"


def check_connected(connection: str) -> None:
    """Raise ActorDied when a connection has ended.

    Ray takes a call without a connection for the first of a program, and starts a cluster.
    """
    if connection_id() != connection:
        raise ActorDied("this process has disconnected from that Ray cluster (ray.shutdown)")
