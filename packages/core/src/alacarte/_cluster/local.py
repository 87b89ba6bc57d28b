"""The local cluster: every actor is a thread of this process, without Ray.

The controller, replicas, routers and node services are the same as on Ray and use the same
sockets, so an application that works here works there. Replicas are not isolated: they share one
interpreter, and user code that blocks the interpreter blocks all of them.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import threading
from collections.abc import Mapping
from typing import Any

from ..foreign import is_cancellation
from .actor_host import ActorHost
from .cluster_protocol import Actor, ActorDied, ActorSpec, Capacity, Node, NotStarted

__all__ = ["LocalCluster"]

_NODE = Node("local", "127.0.0.1", is_head=True)


class LocalActor:
    """An actor in a thread of this process."""

    def __init__(self, name: str, cluster: LocalCluster) -> None:
        self.name = name
        self._cluster = cluster
        self._host: ActorHost | None = None
        self._gone: concurrent.futures.Future[str] = concurrent.futures.Future()
        self._calls: set[concurrent.futures.Future[Any]] = set()

    def start(self, spec: ActorSpec) -> None:
        """Start the thread, and block until the actor is up."""
        # An empty context: the thread does not belong to the request or replica that starts it.
        host = contextvars.Context().run(ActorHost, spec, self._cluster, _NODE)
        self._host = host
        if self._gone.done():  # killed meanwhile
            self._host = None
            host.abort()

    async def call(self, method: str, *args: object) -> Any:
        host = self._host  # one read: `kill` may come from another thread
        if self._gone.done():
            raise ActorDied(f"{self.name} is gone")
        if host is None:
            raise NotStarted(f"{self.name} is still starting")
        future = host.submit(method, args)
        self._calls.add(future)
        future.add_done_callback(self._calls.discard)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError as error:
            # A caller that cancels the call gets its cancellation, even when the actor has died.
            if self._gone.done() and not is_cancellation(error):
                raise ActorDied(f"{self.name} was stopped") from None
            raise

    async def wait_closed(self) -> str:
        # A future for each caller: cancelling one must not end the wait of the others.
        return await asyncio.wrap_future(_follow(self._gone))

    def kill(self) -> None:
        if self._gone.done():
            return
        self._cluster.forget(self)
        host, self._host = self._host, None
        self._gone.set_result("killed")
        if host is not None:
            # In another thread: the caller's may be the actor's, or one that the actor waits for.
            ending = threading.Thread(target=host.abort, name=f"end-{self.name}", daemon=True)
            try:
                ending.start()
            except RuntimeError:  # Python 3.12 starts no thread once the program has ended
                host.abort()


class LocalCluster:
    """A `Cluster` in one process."""

    kind = "local"
    is_connected = True
    node_id = _NODE.node_id

    def __init__(self) -> None:
        self._actors: dict[str, LocalActor] = {}
        self._map: dict[str, bytes] = {}

    def is_reachable(self) -> bool:
        return True

    async def start_actor(self, spec: ActorSpec) -> Actor:
        if spec.name in self._actors:
            raise ActorDied(f"an actor named {spec.name} exists already")
        actor = LocalActor(spec.name, self)
        self._actors[spec.name] = actor
        try:
            await asyncio.get_running_loop().run_in_executor(None, actor.start, spec)
        except BaseException:
            actor.kill()  # it may still be starting, and has no owner any more
            raise
        return actor

    async def missing(self, spec: ActorSpec) -> dict[str, tuple[float, float]]:
        return {}  # a thread always fits

    async def capacity(self, demand: Mapping[str, tuple[ActorSpec, int]]) -> Capacity:
        return Capacity()  # threads have no resources of their own

    async def end_process(self, node_id: str, pid: int) -> None:
        pass  # threads share this process

    async def release(self, prefix: str) -> None:
        pass

    async def find_actor(self, name: str) -> Actor | None:
        return self._actors.get(name)

    async def list_actors(self, prefix: str) -> list[str]:
        return [name for name in self._actors if name.startswith(prefix)]

    async def nodes(self) -> list[Node]:
        return [_NODE]

    async def get(self, key: str) -> bytes | None:
        return self._map.get(key)

    async def put(self, key: str, value: bytes) -> None:
        self._map[key] = value

    async def delete(self, key: str) -> None:
        self._map.pop(key, None)

    async def keys(self, prefix: str) -> list[str]:
        return [key for key in self._map if key.startswith(prefix)]

    def forget(self, actor: LocalActor) -> None:
        """Free the name of a killed actor."""
        if self._actors.get(actor.name) is actor:
            del self._actors[actor.name]


def _follow(source: concurrent.futures.Future[str]) -> concurrent.futures.Future[str]:
    copy: concurrent.futures.Future[str] = concurrent.futures.Future()

    def done(finished: concurrent.futures.Future[str]) -> None:
        if copy.set_running_or_notify_cancel():
            copy.set_result(finished.result())

    source.add_done_callback(done)
    return copy
