"""A process's subscription to snapshots: one request for all keys."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from alacarte._cluster.cluster_protocol import ActorDied
from alacarte._control.snapshot_hub import SnapshotHub
from alacarte._process.subscription import Subscription, SubscriptionEnded
from alacarte.actors import WatchRequest


@dataclass
class Value:
    version: int


class Controller:
    """A hub that counts requests, and fails on demand."""

    def __init__(self) -> None:
        self.hub = SnapshotHub()
        self.asked: list[Mapping[str, int]] = []
        self.errors: list[BaseException] = []
        self.subscription = Subscription(self.watch, "w", "w/1")
        self.heard: dict[str, list[int]] = {}

    async def watch(self, request: WatchRequest) -> Mapping[str, Any]:
        self.asked.append(request.known)
        if self.errors:
            raise self.errors.pop(0)
        return await self.hub.watch(request)

    def publish(self, key: str) -> int:
        version = self.hub.next_version()
        self.hub.publish(key, version, Value(version))
        return version

    def follow(self, key: str) -> None:
        heard = self.heard.setdefault(key, [])
        self.subscription.follow(key, lambda value: heard.append(value.version))

    async def close(self) -> None:
        self.subscription.close()
        await settle()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_one_task_and_one_question_for_all_keys(run):
    """All keys share one open request, and a new key sends a new one."""

    async def main():
        world = Controller()
        versions = [world.publish(f"key-{number}") for number in range(100)]
        tasks = len(asyncio.all_tasks())
        for number in range(100):
            world.follow(f"key-{number}")
        await settle()
        assert len(world.hub._open) == 1
        assert len(asyncio.all_tasks()) - tasks == 3
        assert len(world.asked) == 2
        world.follow("late")
        version = world.publish("late")
        await settle()
        assert [world.heard[f"key-{number}"] for number in range(100)] == [[v] for v in versions]
        assert world.heard["late"] == [version]
        await world.close()
        assert not world.hub._open

    run(main)


def test_what_is_not_followed_any_more_is_not_asked_for(run):
    """A removed key is not requested; added again, it starts with the whole value."""

    async def main():
        world = Controller()
        version = world.publish("a")
        world.follow("a")
        world.follow("b")
        await settle()
        world.subscription.unfollow("a")
        await settle()
        assert world.asked[-1] == {"b": -1}
        assert world.hub._followers.keys() == {"b"}
        world.follow("a")
        await settle()
        assert world.heard["a"] == [version, version]
        world.subscription.unfollow("never followed")
        await world.close()

    run(main)


def test_a_value_that_cannot_be_applied_is_asked_for_again(run):
    """A value that fails is requested again after a pause; the other values are applied."""

    async def main():
        world = Controller()
        heard: list[int] = []

        def apply(value: Value) -> None:
            heard.append(value.version)
            if len(heard) == 1:
                raise RuntimeError("a policy's bug")

        version, other = world.publish("bad"), world.publish("good")
        world.subscription.follow("bad", apply)
        world.follow("good")
        await asyncio.sleep(1)
        assert heard == [version, version]
        assert world.heard["good"] == [other]
        await world.close()

    run(main)


def test_a_value_that_still_cannot_be_applied_is_logged_once(run, caplog):
    """A failure is logged once until the value could be applied."""

    async def main():
        world = Controller()
        fails = True

        def apply(value: Value) -> None:
            if fails:
                raise RuntimeError("a listener's bug")

        world.subscription.follow("key", apply)
        world.publish("key")
        await asyncio.sleep(10)
        assert len(caplog.records) == 1
        fails = False
        await asyncio.sleep(10)
        fails = True
        world.publish("key")
        await asyncio.sleep(10)
        assert len(caplog.records) == 2
        await world.close()

    run(main)


def test_an_error_that_stays_is_logged_once(run, caplog):
    """A controller that always answers with the same error does not fill the log."""

    async def main():
        world = Controller()
        world.errors = [RuntimeError("a bug")] * 9 + [RuntimeError("another")]
        world.follow("a")
        await asyncio.sleep(20)
        assert not world.errors
        await world.close()

    run(main)
    assert [str(record.exc_info[1]) for record in caplog.records] == ["a bug", "another"]


@pytest.mark.parametrize(
    "error", [ActorDied("gone"), RuntimeError("a bug"), asyncio.CancelledError()]
)
def test_the_last_values_hold_without_a_controller(run, error):
    """The request is retried with pauses, and then for newer values only."""

    async def main():
        world = Controller()
        version = world.publish("a")
        world.follow("a")
        await settle()
        world.errors = [error] * 5
        world.follow("b")
        await settle()
        assert world.errors
        newer = world.publish("a")
        await asyncio.sleep(10)
        assert not world.errors
        assert world.heard["a"] == [version, newer]
        assert len(world.asked) < 12
        await world.close()

    run(main)


def test_nobody_is_asked_after_the_end(run):
    """After the end of the instance, no request is sent until a new key is watched."""

    async def main():
        world = Controller()
        world.errors = [SubscriptionEnded(), SubscriptionEnded()]
        world.follow("a")
        await settle()
        assert not world.subscription.is_open
        world.follow("b")
        await settle()
        assert not world.subscription.is_open
        assert len(world.asked) == 2

    run(main)
