"""The hub of snapshots: answers to watchers, and applied versions."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from alacarte._control.snapshot_hub import HISTORY, MAX_RETIRED, WATCH_LIMIT_S, SnapshotHub
from alacarte.actors import DeploymentSnapshot, SnapshotDelta, WatchRequest

from ..model.test_snapshots import ordered, whole

NUMBERS = itertools.count()


def ask(hub: SnapshotHub, watcher: str, **known: int) -> Any:
    """Send a watch request as a process of that name, with the next number."""
    return hub.watch(WatchRequest(watcher, f"{watcher}/1", next(NUMBERS), known))


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_newer_value_is_given_at_once(run):
    """A watcher with an older version, or none, gets the value at once."""

    async def main():
        hub = SnapshotHub()
        hub.publish("k", hub.next_version(), "one")
        assert await ask(hub, "w", k=-1) == {"k": "one"}
        known = hub.next_version()
        hub.publish("k", known + 1, "two")
        assert await ask(hub, "w", k=known) == {"k": "two"}

    run(main)


def test_a_known_value_is_waited_past(run):
    """A watcher with the newest version waits for the next, as all such watchers do."""

    async def main():
        hub = SnapshotHub()
        version = hub.next_version()
        hub.publish("k", version, "one")
        waiting = [asyncio.create_task(ask(hub, name, k=version)) for name in "ab"]
        other = asyncio.create_task(ask(hub, "c", other=-1))
        await settle()
        assert not any(task.done() for task in waiting)
        hub.publish("k", hub.next_version(), "two")
        assert await asyncio.gather(*waiting) == [{"k": "two"}] * 2
        assert not other.done()
        hub.publish("other", hub.next_version(), "x")
        assert await other == {"other": "x"}

    run(main)


def test_a_value_may_change_twice_before_a_watcher_looks(run):
    """Only the newest value is delivered."""

    async def main():
        hub = SnapshotHub()
        waiting = asyncio.create_task(ask(hub, "w", k=-1))
        await settle()
        hub.publish("k", hub.next_version(), "one")
        hub.publish("k", hub.next_version(), "two")
        assert await waiting == {"k": "two"}

    run(main)


def test_a_question_ends_with_its_time(run):
    """A request without a newer value returns {} after the limit, and the next one works."""

    async def main():
        hub = SnapshotHub()
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert await ask(hub, "w", k=-1) == {}
        assert loop.time() - began >= WATCH_LIMIT_S - 0.001
        hub.publish("k", hub.next_version(), "one")
        assert await ask(hub, "w", k=-1) == {"k": "one"}

    run(main)


def test_seen_waits_for_every_tracked_watcher(run):
    """A watcher's next request acknowledges the last answer."""

    async def main():
        hub = SnapshotHub()
        hub.track("a")
        hub.track("b")
        hub.publish("k", 1, "one")
        seen = asyncio.create_task(hub.wait_applied("k", 1))
        await ask(hub, "a", k=-1)
        await ask(hub, "b", k=-1)
        await settle()
        assert not seen.done()
        questions = [asyncio.create_task(ask(hub, "a", k=1))]
        await settle()
        assert not seen.done()
        questions.append(asyncio.create_task(ask(hub, "b", k=1)))
        await seen
        hub.publish("k", 2, "two")
        await asyncio.gather(*questions)

    run(main)


def test_others_are_not_waited_for(run):
    """Only tracked watchers are waited for; drivers and stopped proxies are not."""

    async def main():
        hub = SnapshotHub()
        await hub.wait_applied("k", 7)
        hub.track("a")
        seen = asyncio.create_task(hub.wait_applied("k", 7))
        await settle()
        assert not seen.done()
        hub.untrack("a")
        await seen
        hub.untrack("never tracked")

    run(main)


def test_versions_outlive_a_hub():
    """After a restart they are higher than all before, since watchers compare them."""
    before = SnapshotHub()
    given = [before.next_version() for _ in range(3)]
    assert given == sorted(set(given))
    after = SnapshotHub()
    assert after.next_version() > given[0]


class Watcher:
    """A watcher that applies answers as a router does."""

    def __init__(self, hub: SnapshotHub) -> None:
        self.hub = hub
        self.known = -1
        self.replicas: dict[str, int] = {}
        self.wholes = 0

    async def look(self) -> None:
        news = (await ask(self.hub, "w", k=self.known))["k"]
        if isinstance(news, SnapshotDelta):
            assert news.since == self.known
            for name in news.removed:
                self.replicas.pop(name, None)
            changed = news.changed
        else:
            self.wholes += 1
            self.replicas = {}
            changed = news.replicas
        self.replicas |= {entry.replica_id: entry.max_ongoing for entry in changed}
        self.known = news.version

    def has(self, snapshot: DeploymentSnapshot) -> bool:
        found = ordered(whole(self.known, self.replicas)).replicas
        return found == ordered(snapshot).replicas


def replicas(count: int) -> dict[str, int]:
    return {f"replica-{n}": 1 for n in range(count)}


def test_who_knows_a_version_is_told_what_has_changed(run):
    """A watcher with a recent version gets a delta, also of several changes."""

    async def main():
        hub = SnapshotHub()
        watcher = Watcher(hub)
        world = replicas(1000)
        for step in range(30):
            world.pop(f"replica-{step}", None)
            world[f"new-{step}"] = 1
            world[f"replica-{500 + step}"] = 2
            snapshot = whole(hub.next_version(), world)
            hub.publish("k", snapshot.version, snapshot)
            if step % 3 == 0:
                await watcher.look()
                assert watcher.has(snapshot)
        assert watcher.wholes == 1

    run(main)


def test_who_knows_too_old_a_version_is_told_everything(run):
    """A watcher with a too old version gets the whole snapshot, then deltas again."""

    async def main():
        hub = SnapshotHub()
        watcher = Watcher(hub)
        world = replicas(300)

        def change(step: int) -> DeploymentSnapshot:
            world[f"new-{step}"] = 1
            snapshot = whole(hub.next_version(), world)
            hub.publish("k", snapshot.version, snapshot)
            return snapshot

        change(0)
        await watcher.look()
        for step in range(HISTORY):
            change(step)
        await watcher.look()
        assert watcher.wholes == 1
        for step in range(HISTORY + 1):
            last = change(1000 + step)
        await watcher.look()
        assert watcher.wholes == 2
        assert watcher.has(last)
        watcher.known = 5  # of another hub's making
        last = change(5000)
        await watcher.look()
        assert watcher.wholes == 3
        last = change(5001)
        await watcher.look()
        assert (watcher.wholes, watcher.has(last)) == (3, True)

    run(main)


def test_a_change_of_everything_is_told_as_everything(run):
    """A delta that is no shorter would only cost more."""

    async def main():
        hub = SnapshotHub()
        watcher = Watcher(hub)
        for world in (replicas(3), {"x": 1}):
            snapshot = whole(hub.next_version(), world)
            hub.publish("k", snapshot.version, snapshot)
            await watcher.look()
            assert watcher.has(snapshot)
        assert watcher.wholes == 2

    run(main)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_retired_key_is_forgotten_with_its_deltas():
    """A retired key is deleted after its watchers have had time to get its last value."""
    clock = Clock()
    hub = SnapshotHub(clock)
    for version in (1, 2):
        hub.publish("k", version, whole(version, replicas(version)))
    hub.retire("k")
    assert hub.current("k") is not None
    clock.now = 61.0
    hub.retire("never published")
    assert hub.keys == ()
    assert not hub._deltas


def test_a_retired_key_that_comes_back_stays():
    """A key that is published again is no longer retired."""
    clock = Clock()
    hub = SnapshotHub(clock)
    hub.publish("k", 1, "gone")
    hub.retire("k")
    hub.publish("k", 2, "back")
    clock.now = 61.0
    hub.retire("another")
    assert hub.current("k") == "back"


def test_retired_keys_that_are_followed_stay(run):
    """Watched retired keys stay, however many, and are delivered once."""

    async def main():
        clock = Clock()
        hub = SnapshotHub(clock)
        hub.publish("k", 1, "gone")
        hub.retire("k")
        asking = asyncio.create_task(ask(hub, "w", k=1))
        await settle()
        for number in range(MAX_RETIRED + 50):
            hub.publish(f"key-{number}", 2, "gone")
            hub.retire(f"key-{number}")
        clock.now = 61.0
        hub.retire("another")
        assert hub.keys == ("k",)
        asking.cancel()
        await settle()
        hub.retire("another")
        assert hub.keys == ()

    run(main)


def test_one_question_for_all_keys(run):
    """One request gets all newer values and no known ones."""

    async def main():
        hub = SnapshotHub()
        for key in "abc":
            hub.publish(key, 5, key)
        assert await ask(hub, "w", a=5, b=4, c=-1, d=-1) == {"b": "b", "c": "c"}
        waiting = asyncio.create_task(ask(hub, "w", a=5, b=5, c=5, d=-1))
        await settle()
        hub.publish("d", 6, "d")
        hub.publish("a", 7, "new a")
        assert await waiting == {"a": "new a", "d": "d"}

    run(main)


def test_a_newer_question_ends_the_older_one(run):
    """A newer request ends the older one of the same process only."""

    async def main():
        hub = SnapshotHub()
        first = asyncio.create_task(ask(hub, "w", a=-1))
        stranger = asyncio.create_task(hub.watch(WatchRequest("w", "w/2", 0, {"a": -1})))
        await settle()
        second = asyncio.create_task(ask(hub, "w", a=-1, b=-1))
        assert await first == {}
        hub.publish("b", 1, "b")
        assert await second == {"b": "b"}
        assert not stranger.done()
        hub.publish("a", 2, "a")
        assert await stranger == {"a": "a"}
        assert not hub._open
        assert not hub._followers

    run(main)


def test_a_question_that_was_overtaken_counts_for_nothing(run):
    """A late request is answered at once and does not reset acknowledged versions."""

    async def main():
        hub = SnapshotHub()
        hub.track("w")
        hub.publish("k", 3, "value")
        newer = asyncio.create_task(hub.watch(WatchRequest("w", "w/1", 8, {"k": 3})))
        await settle()
        assert await hub.watch(WatchRequest("w", "w/1", 7, {"k": -1})) == {}
        assert hub.behind("k", 3) == []
        hub.publish("k", 4, "next")
        assert await newer == {"k": "next"}
        await hub.watch(WatchRequest("w", "w/1", 7, {"k": -1}))
        assert hub.behind("k", 3) == []

    run(main)


def test_a_version_of_a_former_hub_whose_clock_was_ahead(run):
    """Watchers with a version from the future get the whole value at once."""

    async def main():
        hub = SnapshotHub()
        hub.publish("k", hub.next_version(), "new")
        hub.track("p")
        assert await ask(hub, "p", k=hub.next_version() + 10**9) == {"k": "new"}
        seen = asyncio.ensure_future(hub.wait_applied("k", 1))
        await asyncio.sleep(0)
        assert not seen.done()
        seen.cancel()
        await asyncio.sleep(0)

    run(main)


def test_a_watcher_that_asked_before_it_was_tracked(run):
    """The versions of an open request count when its watcher is tracked later."""

    async def main():
        hub = SnapshotHub()
        version = hub.next_version()
        hub.publish("k", version, "value")
        asking = asyncio.ensure_future(ask(hub, "p", k=version))
        await asyncio.sleep(0)
        hub.track("p")
        async with asyncio.timeout(1):
            await hub.wait_applied("k", version)
        asking.cancel()
        await asyncio.sleep(0)
        assert not hub._open

    run(main)
