"""Snapshots: who waits is answered, who has seen what is known."""

from __future__ import annotations

import asyncio

from alacarte._control.watch import WATCH_LIMIT_S, SnapshotHub


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_newer_value_is_given_at_once(run):
    """Who knows an older version, or none, does not wait."""

    async def main():
        hub = SnapshotHub()
        hub.publish("k", hub.next_version(), "one")
        assert await hub.watch("k", -1, "w") == "one"
        known = hub.next_version()
        hub.publish("k", known + 1, "two")
        assert await hub.watch("k", known, "w") == "two"

    run(main)


def test_a_known_value_is_waited_past(run):
    """Who knows the newest waits for the next, and all who wait get it."""

    async def main():
        hub = SnapshotHub()
        version = hub.next_version()
        hub.publish("k", version, "one")
        waiting = [asyncio.create_task(hub.watch("k", version, name)) for name in "ab"]
        other = asyncio.create_task(hub.watch("other", -1, "c"))
        await settle()
        assert not any(task.done() for task in waiting)
        hub.publish("k", hub.next_version(), "two")
        assert await asyncio.gather(*waiting) == ["two", "two"]
        assert not other.done()
        hub.publish("other", hub.next_version(), "x")
        assert await other == "x"

    run(main)


def test_a_value_may_change_twice_before_a_watcher_looks(run):
    """Only the newest counts; what was in between is never delivered."""

    async def main():
        hub = SnapshotHub()
        waiting = asyncio.create_task(hub.watch("k", -1, "w"))
        await settle()
        hub.publish("k", hub.next_version(), "one")
        hub.publish("k", hub.next_version(), "two")
        assert await waiting == "two"

    run(main)


def test_a_question_ends_with_its_time(run):
    """Without news the answer is None, after the limit and not before; the next one works."""

    async def main():
        hub = SnapshotHub()
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert await hub.watch("k", -1, "w") is None
        assert loop.time() - began >= WATCH_LIMIT_S - 0.001
        hub.publish("k", hub.next_version(), "one")
        assert await hub.watch("k", -1, "w") == "one"

    run(main)


def test_seen_waits_for_every_tracked_watcher(run):
    """A watcher's next question tells that it has taken in the last answer."""

    async def main():
        hub = SnapshotHub()
        hub.track("a")
        hub.track("b")
        hub.publish("k", 1, "one")
        seen = asyncio.create_task(hub.seen("k", 1))
        await hub.watch("k", -1, "a")
        await hub.watch("k", -1, "b")
        await settle()
        assert not seen.done()
        questions = [asyncio.create_task(hub.watch("k", 1, "a"))]
        await settle()
        assert not seen.done()
        questions.append(asyncio.create_task(hub.watch("k", 1, "b")))
        await seen
        hub.publish("k", 2, "two")
        await asyncio.gather(*questions)

    run(main)


def test_others_are_not_waited_for(run):
    """Watchers that are not tracked, such as drivers, hold nobody up; nor do those that left."""

    async def main():
        hub = SnapshotHub()
        await hub.seen("k", 7)
        hub.track("a")
        seen = asyncio.create_task(hub.seen("k", 7))
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


def test_what_is_forgotten():
    """A value nobody waits for can be dropped."""
    hub = SnapshotHub()
    hub.publish("k", 1, "one")
    assert hub.current("k") == "one"
    hub.forget("k")
    assert hub.current("k") is None
