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
from ..exits import ExitWatch, describe_exit, process_space
from ..titles import title_of
from .control_store import CALLS
from .error_cause import cause_of, first_line
from .placement_groups import remove_groups

__all__ = ["RayActor", "check_connected", "connection_id"]

_EXITS = ExitWatch()
_EXIT_S = 2.0
"""For a process to end whose connections have; a large one takes a while."""


class RayActor:
    """A reference to a Ray actor.

    Args:
        bundled: Whether resources in bundles belong to it; None for not known.
        title: Of its process; "" for what its name says.
        restarts: Ray starts it again when it dies, in another process.
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
        # While a call runs, Ray names the process after the call.
        self._named = {"name": title or title_of(name)}
        self._exit: concurrent.futures.Future[int | None] | None = None

    async def call(self, method: str, *args: Any) -> Any:
        check_connected(self._connection)
        try:
            return await self._handle.call.options(**self._named).remote(method, args)
        except exceptions.RayTaskError as error:
            raise cause_of(error) from None
        except exceptions.RayActorError as error:
            raise ActorDied(f"{self.name}: {await self._reason(error)}") from None

    async def begin(self, args: tuple[Any, ...]) -> None:
        # One by one: Ray writes arguments of 100 KB and more to the disk when its memory is short.
        try:
            process = await self._handle.begin.options(**self._named).remote(*args)
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
                    self._watch(await self._handle.process.options(**self._named).remote())
                await self._handle.live.options(**self._named).remote()
            except exceptions.ActorUnavailableError:
                await asyncio.sleep(0.1)  # Ray does not know yet; ask again
            except exceptions.RayError as error:
                return await self._reason(error)

    def _watch(self, process: tuple[str, int]) -> None:
        """Keep the process in sight, where it is one of this machine."""
        space, pid = process
        if space and space == process_space():
            self._exit = _EXITS.watch(pid)

    async def _reason(self, error: exceptions.RayError) -> str:
        """Return why the process ended: as the kernel has it, where Ray does not know."""
        text = str(error)
        if self._exit is not None and is_unexplained(text):
            with contextlib.suppress(TimeoutError):
                # Its connections may be gone before it is.
                async with asyncio.timeout(_EXIT_S):
                    status = await asyncio.shield(asyncio.wrap_future(self._exit))
                    if status is not None:
                        return f"its process {describe_exit(status)}"
        return cause_of_death(text)

    def kill(self) -> None:
        check_connected(self._connection)
        ray.kill(self._handle, no_restart=True)
        if self._bundled is not False:
            # It asks Ray's control store, which the caller, an event loop, must not wait for.
            CALLS.submit(functools.partial(remove_groups, self.name))


def connection_id() -> str:
    """Return what tells this process's connection to Ray from an earlier or later one; "" for none.

    `ray.shutdown()` ends it, and another `ray.init()` begins another, also to the same cluster.
    """
    if not ray.is_initialized():
        return ""
    # A job's id is unique in its cluster, and that of a node everywhere.
    context = ray.get_runtime_context()
    return f"{context.get_node_id()}/{context.get_job_id()}"


def check_connected(connection: str) -> None:
    """Raise ActorDied where this connection has ended.

    Ray would take the question for the first of a new program, and start a cluster for it.
    """
    if connection_id() != connection:
        raise ActorDied("this process has left that Ray cluster (ray.shutdown)")
