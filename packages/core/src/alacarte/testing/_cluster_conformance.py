"""Conformance checks of clusters: the behaviour that core relies on."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

from .._cluster.cluster_protocol import Actor, ActorContext, ActorDied, ActorSpec, Capacity, Cluster
from .._plugins import PluginRecord, load
from ..errors import PluginError

__all__ = ["Probe", "check_cluster"]

_TARGET = f"{__name__}:Probe"
_PATIENCE_S = 60.0


async def check_cluster(cluster: Cluster) -> None:
    """Check the conformance of a cluster to `Cluster` and `Actor`; remove all created actors.

    Raises:
        AssertionError: The cluster violates the protocol.
    """
    bench = _Bench(cluster)
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await _check_calls(bench)
            await _check_names(bench)
            await _check_end(bench)
            await _check_refusals(bench)
            await _check_map(cluster)
            await _check_nodes(bench)
    finally:
        for actor in bench.actors:
            actor.kill()


class Probe:
    """Actor of the checks."""

    def __init__(self, context: ActorContext, *args: object) -> None:
        if args == ("raise",):
            raise LookupError("of the constructor")
        self._context = context
        self._args = args
        self._released = asyncio.Event()

    async def describe(self) -> tuple[object, ...]:
        """Return the name, node, host and plugins of the context, and the arguments."""
        context = self._context
        plugins = tuple(record.identity for record in context.plugins.loaded)
        return context.name, context.node, context.host_id, plugins, self._args

    async def fail(self) -> None:
        """Raise an error."""
        raise LookupError("of the method")

    async def hang(self) -> None:
        """Never return."""
        await asyncio.Event().wait()

    async def wait(self) -> str:
        """Wait for a call of `release`."""
        await self._released.wait()
        return "released"

    async def release(self) -> None:
        """Unblock `wait`."""
        self._released.set()

    async def find(self, name: str) -> Any:
        """Call `describe` of another actor."""
        other = await self._context.cluster.find_actor(name)
        return None if other is None else await other.call("describe")


class _Bench:
    """A cluster under test, and the actors that the checks have started."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.plugins = load().loaded
        self.actors: list[Actor] = []

    def spec(self, *args: object, **fields: Any) -> ActorSpec:
        name = f"alacarte:check:{secrets.token_hex(4)}"
        return ActorSpec(name, _TARGET, args, **{"plugins": self.plugins, **fields})

    async def start(self, spec: ActorSpec) -> Actor:
        actor = await self.cluster.start_actor(spec)
        self.actors.append(actor)
        return actor

    async def free(self, name: str) -> None:
        """Wait until no actor has this name."""
        while await self.cluster.find_actor(name) is not None:
            await asyncio.sleep(0.01)


async def _check_calls(bench: _Bench) -> None:
    """Methods run concurrently, on an object that gets its context and arguments."""
    spec = bench.spec(1, "x")
    actor = await bench.start(spec)
    assert actor.name == spec.name
    name, node, host, plugins, args = await actor.call("describe")
    assert (name, args) == (spec.name, (1, "x"))
    assert node.node_id in [other.node_id for other in await bench.cluster.nodes()]
    assert host
    assert plugins == tuple(record.identity for record in bench.plugins)
    waiting = asyncio.create_task(actor.call("wait"))
    await actor.call("release")
    assert await waiting == "released", "a waiting call must not block other calls"
    await _raises(LookupError, "of the method", actor.call("fail"))
    assert await actor.call("describe"), "an actor must survive an error of a method"


async def _check_names(bench: _Bench) -> None:
    """A name belongs to one actor, and finds this actor from inside of other actors too."""
    spec = bench.spec()
    assert await bench.cluster.missing(spec) == {}
    assert await bench.cluster.capacity({"one": (spec, 1)}) == Capacity(), "the actor must fit"
    actor = await bench.start(spec)
    await _raises(ActorDied, "", bench.cluster.start_actor(spec))
    found = await bench.cluster.find_actor(spec.name)
    assert found is not None
    assert await found.call("describe") == await actor.call("describe")
    other = await bench.start(bench.spec())
    assert await other.call("find", spec.name) == await actor.call("describe")
    assert await other.call("find", "alacarte:check:unknown") is None
    assert await bench.cluster.find_actor("alacarte:check:unknown") is None
    await bench.cluster.release("alacarte:check:")
    assert await actor.call("describe"), "release must not take resources from living actors"


async def _check_end(bench: _Bench) -> None:
    """The death of a killed actor reaches all waiting callers, and frees the actor's name."""
    spec = bench.spec()
    actor = await bench.start(spec)
    hanging = asyncio.create_task(actor.call("hang"))
    closed = [asyncio.create_task(actor.wait_closed()) for _ in range(2)]
    await actor.call("describe")
    assert not closed[0].done(), "wait_closed() returned while the actor is alive"
    closed[0].cancel()
    actor.kill()
    actor.kill()
    assert isinstance(await closed[1], str), "wait_closed() must return a reason"
    assert isinstance(await actor.wait_closed(), str), "wait_closed() must return for a dead actor"
    await _raises(ActorDied, "", hanging)
    await _raises(ActorDied, "", actor.call("describe"))
    await bench.free(spec.name)
    await bench.start(spec)


async def _check_refusals(bench: _Bench) -> None:
    """An actor that cannot start raises the reason, and leaves its name free."""
    spec = bench.spec("raise")
    await _raises(LookupError, "of the constructor", bench.cluster.start_actor(spec))
    await bench.free(spec.name)
    first = bench.plugins[0]
    other = replace(first, distribution=first.distribution or "alacarte-core", version="999.0")
    mixed = bench.spec(plugins=(other, *bench.plugins[1:]))
    await _raises(PluginError, f"only there {other.name} 999.0", bench.cluster.start_actor(mixed))
    missing = PluginRecord("check-missing", "nowhere", "no-such-distribution", "1.0", "loaded")
    lacking = bench.spec(plugins=(*bench.plugins, missing))
    await _raises(PluginError, "check-missing 1.0", bench.cluster.start_actor(lacking))


async def _check_map(cluster: Cluster) -> None:
    """The key-value store keeps bytes by key until they are deleted."""
    key = f"check:{secrets.token_hex(4)}"
    assert await cluster.get(key) is None
    await cluster.put(key, b"one")
    await cluster.put(key, b"\x00two")
    assert await cluster.get(key) == b"\x00two"
    await cluster.put(f"{key}/a", b"")
    assert sorted(await cluster.keys(key)) == [key, f"{key}/a"]
    assert await cluster.keys(f"{key}/") == [f"{key}/a"]
    await cluster.delete(f"{key}/a")
    assert await cluster.keys(f"{key}/") == []
    await cluster.delete(key)
    await cluster.delete(key)
    assert await cluster.get(key) is None


async def _check_nodes(bench: _Bench) -> None:
    """The cluster has a single head node; an actor runs on the requested node."""
    nodes = await bench.cluster.nodes()
    assert sum(node.is_head for node in nodes) == 1
    for node in nodes:
        actor = await bench.start(bench.spec(node_id=node.node_id))
        assert (await actor.call("describe"))[1].node_id == node.node_id


async def _raises(kind: type[BaseException], message: str, work: Awaitable[object]) -> None:
    result = (await asyncio.gather(work, return_exceptions=True))[0]
    assert isinstance(result, kind), f"expected {kind.__name__}, got {result!r}"
    assert message in str(result), f"{message!r} is not in {result!r}"
