"""A process of Ray's that hosts one actor of ours."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..cluster_protocol import ActorSpec, Cluster, NotStarted
from ..exits import process_space
from ..host import ActorHost
from ..threads import run_in_daemon_thread
from ..titles import title_of
from .nodes import this_node

__all__ = ["Process", "stored_part"]


class Process:
    """What Ray runs in each process: a host for one actor of ours.

    Ray calls these on an event loop of its own, apart from the actor's.

    Args:
        spec: Without the arguments: Ray's control store keeps what this constructor gets.
        make_cluster: Makes the cluster that the actor gets; something to import.
    """

    def __init__(self, spec: ActorSpec, make_cluster: Callable[[], Cluster]) -> None:
        self._host: concurrent.futures.Future[ActorHost] | None = None
        self._spec = spec
        self._make_cluster = make_cluster
        self._title = spec.title or title_of(spec.name)
        # Ray names the process after the class of its actor, whenever a call has ended.
        self.__class__ = type(self._title, (type(self),), {})
        if spec.restarts:
            # Ray may be starting the process again, and then nobody calls `begin`.
            self._start_host()

    def __repr__(self) -> str:
        """Return what Ray puts in front of each line that the process prints."""
        return self._title

    async def begin(self, *args: Any) -> tuple[str, int]:
        """Make the actor. Apart from the constructor, so that an error arrives as itself.

        Returns:
            The process: its id, and where that id means this process.
        """
        if self._host is None:
            self._spec = replace(self._spec, args=args)
            self._start_host()
        await self._made()
        return self.process()

    def process(self) -> tuple[str, int]:
        """Return the process as `begin` does, whether the actor is made or not."""
        return process_space(), os.getpid()

    async def call(self, method: str, args: tuple[Any, ...]) -> Any:
        host = await self._made()
        return await asyncio.wrap_future(host.submit(method, args))

    def _start_host(self) -> None:
        """Begin to make the actor, in a thread: neither Ray's constructor nor its loop may wait."""

        def make() -> ActorHost:
            return ActorHost(self._spec, self._make_cluster(), this_node())

        self._host = run_in_daemon_thread(make, f"start-{self._spec.name}")

    async def _made(self) -> ActorHost:
        """Return the host once it is made.

        Raises:
            NotStarted: Whoever started this process has not called `begin` yet.
        """
        if self._host is None:
            raise NotStarted(f"{self._spec.name} has not been given its arguments yet")
        # A caller that gives up cancels nothing: a call in a thread runs already.
        return self._host.result() if self._host.done() else await asyncio.wrap_future(self._host)

    async def live(self) -> None:
        """Never return: the caller learns of the end of this process by the end of the call."""
        await asyncio.Event().wait()


def stored_part(spec: ActorSpec) -> ActorSpec:
    """Return what the process needs before `begin`: Ray's control store keeps it, on disk even."""
    if spec.restarts and spec.args:
        raise ValueError(f"{spec.name}: nobody hands arguments to a process that Ray restarts")
    return replace(spec, args=(), options={}, bundles=())
