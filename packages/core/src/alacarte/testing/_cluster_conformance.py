"""The conformance kit for clusters: what core relies on, of Ray's and of the local one alike."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from typing import Any

from .._cluster.cluster_protocol import Actor, ActorContext, ActorDied, ActorSpec, Capacity, Cluster
from .._plugins import PluginRecord, load
from ..errors import PluginError

__all__ = ["Probe", "check_cluster"]

_TARGET = f"{__name__}:Probe"
_PATIENCE_S = 60.0


async def check_cluster(cluster: Cluster) -> None:
    """Check that a cluster does all that `Cluster` and `Actor` promise, and leave nothing there.

    Raises:
        AssertionError: It does not.
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
    """The actor of these checks."""

    def __init__(self, context: ActorContext, *args: Any) -> None:
        if args == ("raise",):
            raise LookupError("of the constructor")
        self._context = context
        self._args = args
        self._asked = asyncio.Event()

    async def told(self) -> tuple[Any, ...]:
        """Return what it knows of itself."""
        context = self._context
        plugins = tuple(record.identity for record in context.plugins.loaded)
        return context.name, context.node, context.host_id, plugins, self._args

    async def fail(self) -> None:
        """Raise, as any method may."""
        raise LookupError("of the method")

    async def hang(self) -> None:
        """Never return."""
        await asyncio.Event().wait()

    async def wait(self) -> str:
        """Return when somebody calls `ask`."""
        await self._asked.wait()
        return "asked"

    async def ask(self) -> None:
        """End `wait`."""
        self._asked.set()

    async def find(self, name: str) -> Any:
        """Call another actor from inside."""
        other = await self._context.cluster.find_actor(name)
        return None if other is None else await other.call("told")


class _Bench:
    """A cluster under test, with the actors that were started on it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.plugins = load().loaded
        self.actors: list[Actor] = []

    def spec(self, *args: Any, **fields: Any) -> ActorSpec:
        name = f"alacarte:check:{secrets.token_hex(4)}"
        return ActorSpec(name, _TARGET, args, **{"plugins": self.plugins, **fields})

    async def start(self, spec: ActorSpec) -> Actor:
        actor = await self.cluster.start_actor(spec)
        self.actors.append(actor)
        return actor

    async def free(self, name: str) -> None:
        """Return when nobody has that name any more."""
        while await self.cluster.find_actor(name) is not None:
            await asyncio.sleep(0.01)


async def _check_calls(bench: _Bench) -> None:
    """Methods run, side by side, on an object that was made with its context and arguments."""
    spec = bench.spec(1, "x")
    actor = await bench.start(spec)
    assert actor.name == spec.name
    name, node, host, plugins, args = await actor.call("told")
    assert (name, args) == (spec.name, (1, "x"))
    assert node.node_id in [other.node_id for other in await bench.cluster.nodes()]
    assert host
    assert plugins == tuple(record.identity for record in bench.plugins)
    waiting = asyncio.create_task(actor.call("wait"))
    await actor.call("ask")
    assert await waiting == "asked", "one call that waits must not hold up another"
    await _raises(LookupError, "of the method", actor.call("fail"))
    assert await actor.call("told"), "it goes on after an error"


async def _check_names(bench: _Bench) -> None:
    """A name is taken once, and leads to its actor, from inside of others as well."""
    spec = bench.spec()
    assert await bench.cluster.missing(spec) == {}
    assert await bench.cluster.capacity({"one": (spec, 1)}) == Capacity(), "it fits"
    actor = await bench.start(spec)
    await _raises(ActorDied, "", bench.cluster.start_actor(spec))
    found = await bench.cluster.find_actor(spec.name)
    assert found is not None
    assert await found.call("told") == await actor.call("told")
    other = await bench.start(bench.spec())
    assert await other.call("find", spec.name) == await actor.call("told")
    assert await other.call("find", "alacarte:check:nobody") is None
    assert await bench.cluster.find_actor("alacarte:check:nobody") is None
    await bench.cluster.release("alacarte:check:")
    assert await actor.call("told"), "what belongs to the living must not be taken from them"


async def _check_end(bench: _Bench) -> None:
    """An actor that is killed is gone for all who wait for it, and its name is free again."""
    spec = bench.spec()
    actor = await bench.start(spec)
    hanging = asyncio.create_task(actor.call("hang"))
    closed = [asyncio.create_task(actor.wait_closed()) for _ in range(2)]
    await actor.call("told")
    assert not closed[0].done(), "wait_closed() returned while the actor lives"
    closed[0].cancel()
    actor.kill()
    actor.kill()
    assert isinstance(await closed[1], str), "wait_closed() must say why"
    again = await actor.wait_closed()
    assert isinstance(again, str), "wait_closed() must return for an actor that has ended"
    await _raises(ActorDied, "", hanging)
    await _raises(ActorDied, "", actor.call("told"))
    await bench.free(spec.name)
    await bench.start(spec)


async def _check_refusals(bench: _Bench) -> None:
    """What cannot start says why, and leaves its name free."""
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
    """The map holds bytes by key until they are deleted."""
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
    """One node is the head; an actor runs where it is told to."""
    nodes = await bench.cluster.nodes()
    assert sum(node.is_head for node in nodes) == 1
    for node in nodes:
        actor = await bench.start(bench.spec(node_id=node.node_id))
        assert (await actor.call("told"))[1].node_id == node.node_id


async def _raises(kind: type[BaseException], message: str, work: Any) -> None:
    result: Any = (await asyncio.gather(work, return_exceptions=True))[0]
    assert isinstance(result, kind), f"{kind.__name__} was expected, not {result!r}"
    assert message in str(result), f"{message!r} is not in {result!r}"
