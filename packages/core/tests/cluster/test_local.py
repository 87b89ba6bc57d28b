"""The local cluster: actors in threads, found by name, killed without notice."""

from __future__ import annotations

import asyncio
import sys
import threading
import types

import pytest

from alacarte._cluster.cluster_protocol import ActorContext, ActorDied, ActorSpec
from alacarte._cluster.local import LocalCluster
from alacarte._plugins import PluginRecord
from alacarte.errors import PluginError

MODULE = "alacarte_actor_of_tests"


class Echo:
    """An actor that returns its thread, name and arguments."""

    def __init__(self, context: ActorContext, *args: object) -> None:
        if args == ("fail",):
            raise ValueError("the constructor's own")
        self.context = context
        self.args = args
        self.aborted = threading.Event()

    async def where(self) -> tuple[object, ...]:
        return (threading.current_thread().name, self.context.name, self.args)

    async def fail(self) -> None:
        raise KeyError("the method's own")

    async def hang(self) -> None:
        await asyncio.Event().wait()

    async def its_abort(self) -> threading.Event:
        return self.aborted

    async def abort(self) -> None:
        self.aborted.set()


@pytest.fixture(autouse=True)
def module(monkeypatch: pytest.MonkeyPatch) -> None:
    found = types.ModuleType(MODULE)
    found.Echo = Echo  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, MODULE, found)


def spec(name: str = "a", *args: object, **fields: object) -> ActorSpec:
    return ActorSpec(name, f"{MODULE}:Echo", args, **fields)  # type: ignore[arg-type]


async def test_an_actor_lives_in_a_thread_of_its_own():
    """An actor gets its context and arguments, and its methods run on its own loop."""
    cluster = LocalCluster()
    actor = await cluster.start_actor(spec("a", 1, "x"))
    assert await actor.call("where") == ("a", "a", (1, "x"))
    assert await cluster.find_actor("a") is actor
    with pytest.raises(KeyError, match="the method's own"):
        await actor.call("fail")
    actor.kill()


async def test_a_name_is_taken_once():
    """A second actor of the same name is refused, and the first one stays."""
    cluster = LocalCluster()
    actor = await cluster.start_actor(spec())
    with pytest.raises(ActorDied, match="an actor named a exists already"):
        await cluster.start_actor(spec())
    assert await actor.call("where")
    actor.kill()


async def test_a_constructor_that_raises():
    """The constructor's error reaches the caller; the name is free again, the thread ended."""
    cluster = LocalCluster()
    with pytest.raises(ValueError, match="the constructor's own"):
        await cluster.start_actor(spec("raising", "fail"))
    assert await cluster.find_actor("raising") is None
    assert "raising" not in [thread.name for thread in threading.enumerate()]


async def test_killing():
    """After a kill, waiters return, the object aborts, the thread ends, the name is free."""
    cluster = LocalCluster()
    actor = await cluster.start_actor(spec("killed"))
    aborted = await actor.call("its_abort")
    [thread] = [thread for thread in threading.enumerate() if thread.name == "killed"]
    hanging = asyncio.create_task(actor.call("hang"))
    observers = [asyncio.create_task(actor.wait_closed()) for _ in range(2)]
    await asyncio.sleep(0)
    observers[0].cancel()
    actor.kill()
    actor.kill()
    assert await observers[1] == await actor.wait_closed() == "killed"
    with pytest.raises(ActorDied, match="killed was stopped"):
        await hanging
    with pytest.raises(ActorDied, match="killed is gone"):
        await actor.call("where")
    assert await asyncio.to_thread(aborted.wait, 20)
    await asyncio.to_thread(thread.join, 20)
    assert not thread.is_alive()
    assert await cluster.find_actor("killed") is None


async def test_a_start_that_is_cancelled():
    """An actor whose start is cancelled ends as soon as its constructor returns."""
    cluster = LocalCluster()
    begun, go_on = threading.Event(), threading.Event()

    class Slow(Echo):
        def __init__(self, context: ActorContext) -> None:
            begun.set()
            go_on.wait(20)
            super().__init__(context)
            made.append(self)

    made: list[Slow] = []
    sys.modules[MODULE].Slow = Slow  # type: ignore[attr-defined]
    start = asyncio.create_task(cluster.start_actor(ActorSpec("slow", f"{MODULE}:Slow")))
    await asyncio.to_thread(begun.wait, 20)
    [thread] = [thread for thread in threading.enumerate() if thread.name == "slow"]
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert await cluster.find_actor("slow") is None
    go_on.set()
    await asyncio.to_thread(thread.join, 20)
    assert not thread.is_alive()
    assert made[0].aborted.is_set()


async def test_an_actor_with_other_plugins_does_not_start():
    """An actor does not start with other versions of plugins than the driver's."""
    told = (PluginRecord("core", "alacarte._core_plugin", "alacarte-core", "9.9", "loaded"),)
    with pytest.raises(PluginError, match=r"only there core 9\.9"):
        await LocalCluster().start_actor(spec(plugins=told))


async def test_the_map_and_the_node():
    """The map stores bytes by key, None for a missing key; the cluster has one node."""
    cluster = LocalCluster()
    assert await cluster.get("k") is None
    await cluster.put("k", b"v")
    assert await cluster.get("k") == b"v"
    await cluster.delete("k")
    await cluster.delete("k")
    assert await cluster.get("k") is None
    [node] = await cluster.nodes()
    assert (node.address, node.is_head) == ("127.0.0.1", True)


async def test_a_call_cancelled_as_its_actor_dies():
    """A caller that cancels gets its cancellation, even when the actor is killed meanwhile."""
    cluster = LocalCluster()
    actor = await cluster.start_actor(spec("a"))
    cancelled = asyncio.create_task(actor.call("hang"))
    waiting = asyncio.create_task(actor.call("hang"))
    await asyncio.sleep(0.01)
    actor.kill()
    cancelled.cancel()
    await asyncio.wait([cancelled, waiting])
    assert cancelled.cancelled()
    with pytest.raises(ActorDied, match="a was stopped"):
        waiting.result()
