"""The load watch of a deployment: created if the deployment is scaled, told every change."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from alacarte._plugins.plugin_failures import PluginFailures
from alacarte._process.load_watches import LoadWatches
from alacarte._routing.router import Router
from alacarte.types import Call, DeploymentId, HookResult

from .support import HERE, POLICIES, Far, choose_by, settle, snapshot


class Watch:
    """Keeps the load after each change."""

    def __init__(self, load: Any) -> None:
        self.load = load
        self.seen: list[tuple[int, int, int]] = []
        self.closed = False

    def changed(self) -> None:
        self.seen.append((self.load.queued, self.load.in_flight, len(self.load.replicas)))

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def bench(run):
    """A router, and the load watches that it has created."""

    def with_bench(main):
        async def inside():
            far = Far()
            watches: list[Watch] = []

            def watch_load(load, snapshot):
                assert snapshot.id == HERE
                watches.append(Watch(load))
                return watches[-1]

            router = Router(
                HERE,
                choose_by(POLICIES),
                far.connect,  # type: ignore[arg-type]
                "node",
                watch_load=watch_load,
                clock=asyncio.get_running_loop().time,
            )
            calls: list[asyncio.Task[object]] = []

            async def call(count):
                calls.extend(
                    asyncio.create_task(router.call(Call("p", (b"x",)))) for _ in range(count)
                )
                await settle()

            await main(router, far, watches, call)
            await router.close()
            await asyncio.gather(*calls, return_exceptions=True)
            await settle()
            assert all(watch.closed for watch in watches)

        run(inside)

    return with_bench


def scaled(*replicas, **more):
    return replace(snapshot(*replicas, **more), follow_load=True)


def test_a_fixed_number_is_not_followed(bench):
    """A deployment with a fixed number of replicas gets no load watch."""

    async def main(router, far, watches, call):
        router.update(snapshot("a", room=2))
        await settle()
        await call(3)
        assert watches == []

    bench(main)


def test_the_watch_gets_every_change(bench):
    """The watch is notified when a call waits, runs or ends, after the counts have changed."""

    async def main(router, far, watches, call):
        router.update(scaled())
        await settle()
        [watch] = watches
        await call(2)
        assert watch.seen[-1] == (2, 0, 0)
        router.update(scaled("a", room=1))
        await settle()
        assert watch.seen[-1] == (1, 1, 1)
        far.open[0].answer()
        await settle()
        assert watch.seen[-1] == (0, 1, 1)
        far.open[0].answer()
        await settle()
        assert watch.seen[-1] == (0, 0, 1)
        assert watches == [watch]

    bench(main)


def test_a_deployment_gets_a_fixed_number(bench):
    """The watch is closed and no longer notified; scaling again creates another watch."""

    async def main(router, far, watches, call):
        router.update(scaled("a", room=2))
        await settle()
        router.update(snapshot("a", room=2))
        told = len(watches[0].seen)
        await call(1)
        assert (watches[0].closed, len(watches[0].seen)) == (True, told)
        router.update(scaled("a", room=2))
        assert [watch.closed for watch in watches] == [True, False]

    bench(main)


class Failing:
    """A watch that raises SystemExit."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def changed(self) -> None:
        self.asked.append("changed")
        raise SystemExit(3)

    def close(self) -> None:
        self.asked.append("close")
        raise SystemExit(4)


def test_a_watch_that_fails_is_closed():
    """The failing watch is logged and no longer notified; another plugin's watch goes on."""
    failing, sound = Failing(), Watch(Far())
    sound.load = type("Load", (), {"queued": 1, "in_flight": 2, "replicas": ()})
    failures = PluginFailures()
    given = [HookResult("bad", failing), HookResult("good", sound)]
    watches = LoadWatches(DeploymentId("app", "D"), given, failures)
    watches.changed()
    watches.changed()
    watches.close()
    assert failing.asked == ["changed", "close"]
    assert (len(sound.seen), sound.closed) == (2, True)
    assert [(each.plugin, each.hook, each.subject) for each in failures.values()] == [
        ("bad", "LoadWatch.changed", "deployment app#D"),
        ("bad", "LoadWatch.close", "deployment app#D"),
    ]
