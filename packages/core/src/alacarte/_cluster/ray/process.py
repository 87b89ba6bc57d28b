"""The process that Ray runs for each actor of alacarte's."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..actor_host import ActorHost
from ..cluster_protocol import ActorSpec, Cluster, NotStarted
from ..exits import pid_namespace
from ..threads import run_in_daemon_thread
from ..titles import title_of
from .nodes import this_node

__all__ = ["Process", "stored_part"]


class Process:
    """The Ray actor class of every process: a host for one actor of alacarte's.

    Ray calls the methods on an event loop of Ray's, apart from the actor's.

    Args:
        spec: Without `args`, since Ray's control store keeps the arguments of constructors.
        make_cluster: Makes the cluster that the actor gets; an importable callable.
    """

    def __init__(self, spec: ActorSpec, make_cluster: Callable[[], Cluster]) -> None:
        self._host: concurrent.futures.Future[ActorHost] | None = None
        self._spec = spec
        self._make_cluster = make_cluster
        self._title = spec.title or title_of(spec.name)
        # Ray titles the process after the class of its actor whenever a call has ended.
        self.__class__ = type(self._title, (type(self),), {})
        if spec.restarts:
            # Ray may be restarting the process, and does not call `start_actor` again.
            self._start_host()

    def __repr__(self) -> str:
        """Return the prefix that Ray prints in front of the process's log lines."""
        return self._title

    async def start_actor(self, *args: object) -> tuple[str, int]:
        """Start the actor. Not done in the constructor, so that errors arrive unchanged.

        Returns:
            The PID namespace, and the process id.
        """
        if self._host is None:
            self._spec = replace(self._spec, args=args)
            self._start_host()
        await self._started_host()
        return self.process()

    def process(self) -> tuple[str, int]:
        """Return the PID namespace and process id, whether or not the actor has started."""
        return pid_namespace(), os.getpid()

    async def call(self, method: str, args: tuple[object, ...]) -> Any:
        host = await self._started_host()
        return await asyncio.wrap_future(host.submit(method, args))

    def _start_host(self) -> None:
        """Start the actor in a thread: neither Ray's constructor nor Ray's loop may block."""

        def make() -> ActorHost:
            return ActorHost(self._spec, self._make_cluster(), this_node())

        self._host = run_in_daemon_thread(make, f"start-{self._spec.name}")

    async def _started_host(self) -> ActorHost:
        """Return the host once its actor has started.

        Raises:
            NotStarted: The starter of this process has not called `start_actor` yet.
        """
        if self._host is None:
            raise NotStarted(f"{self._spec.name} has not been given its arguments yet")
        # A caller that is cancelled does not cancel the start: its thread runs already.
        return self._host.result() if self._host.done() else await asyncio.wrap_future(self._host)

    async def live(self) -> None:
        """Never return: the call ends with this process, which tells the caller of the end."""
        await asyncio.Event().wait()


def stored_part(spec: ActorSpec) -> ActorSpec:
    """Return the part of a spec that the process needs before `start_actor`.

    Ray's control store keeps this part, even on disk.
    """
    if spec.restarts and spec.args:
        raise ValueError(f"{spec.name}: an actor that Ray restarts cannot have arguments")
    return replace(spec, args=(), options={}, bundles=())
