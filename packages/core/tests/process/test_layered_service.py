"""A deployment's layers: built when its options are known, and again when they change."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest

from alacarte._process.layered_service import MAX_WAITING, LayeredService
from alacarte.actors import DeploymentSnapshot
from alacarte.errors import (
    BackPressureError,
    DeadlineExceededError,
    DeploymentUnavailableError,
    PluginError,
)
from alacarte.types import Call, DeploymentId, DeploymentInfo, Reply, StagedLayer

HERE = DeploymentId("shop", "model")


class Options:
    def __init__(self, values: Any) -> None:
        self.values = values

    def section(self, name: str) -> Any:
        return self.values.get(name)


class World:
    """A service with a core that counts calls, in one layer that marks them."""

    def __init__(self, *, task_free: bool = True) -> None:
        self.built: list[DeploymentInfo] = []
        self.passed: list[str] = []
        self.tasks: list[Any] = []
        self.followed = 0
        self.task_free = task_free
        self.error: Exception | None = None
        self.version = 0
        self.service = LayeredService(HERE, self.core, self.describe, self.build, self.follow)

    async def core(self, call: Call) -> Reply:
        self.tasks.append(asyncio.current_task())
        return Reply((b"core",))

    def describe(self, snapshot: DeploymentSnapshot) -> DeploymentInfo:
        return DeploymentInfo(snapshot.id, snapshot.code_version, Options(snapshot.options))

    def build(self, deployment: DeploymentInfo) -> list[StagedLayer[Any]]:
        self.built.append(deployment)
        if self.error is not None:
            raise self.error
        mark = deployment.options("mark")

        def layer(service: Any) -> Any:
            async def serve(call: Call) -> Reply:
                self.passed.append(mark)
                return await service(call)

            return serve

        return [] if mark is None else [StagedLayer("cache", layer, task_free=self.task_free)]

    def follow(self) -> None:
        self.followed += 1

    def publish(self, state: Any = "up", code_version: str = "v", **options: Any) -> None:
        self.version += 1
        snapshot = DeploymentSnapshot(
            HERE, self.version, state, code_version=code_version, options=options
        )
        self.service.update(snapshot)


def call(timeout_s: float | None = None) -> Call:
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    return Call("python", (b"",), deadline=deadline, timeout_s=timeout_s)


def step(coroutine: Any) -> Any:
    """Take the first step of a call outside of its own task; return its reply."""
    with pytest.raises(StopIteration) as ended:
        coroutine.send(None)
    return ended.value.value


def test_a_call_before_the_first_snapshot_passes_the_layers(run):
    """An early call waits for the layers."""

    async def main():
        world = World()
        early = asyncio.create_task(_awaited(world.service(call())))
        await asyncio.sleep(1)
        assert (world.passed, world.followed) == ([], 1)
        world.publish(mark="a")
        assert (await early).payload == (b"core",)
        assert world.passed == ["a"]

    run(main)


async def _awaited(reply: Any) -> Reply:
    return await reply


def test_layers_are_built_again_when_version_or_options_change(run):
    """Other snapshots, as of each new replica, do not rebuild the layers."""

    async def main():
        world = World()
        for code_version, mark in (("1", "a"), ("1", "a"), ("1", "b"), ("2", "b"), ("2", None)):
            world.publish(code_version=code_version, **({} if mark is None else {"mark": mark}))
            await world.service(call())
        assert [info.version for info in world.built] == ["1", "1", "2", "2"]
        assert world.passed == ["a", "a", "b", "b"]

    run(main)


def test_a_deployment_that_is_gone_keeps_its_layers(run):
    """An `absent` snapshot, which has no options, does not remove the layers."""

    async def main():
        world = World()
        world.publish(mark="a")
        world.publish("absent", "")
        await world.service(call())
        assert world.passed == ["a"]
        world.service.forget()
        world.publish("absent", "")
        await world.service(call())
        assert world.passed == ["a"]

    run(main)


def test_a_layer_that_cannot_be_built_fails_its_calls_and_no_others(run, caplog):
    """Calls fail with the plugin's error until a snapshot has other options."""

    async def main():
        world = World()
        world.error = PluginError("plugin p failed in wrap_caller of shop#model: KeyError: 'x'")
        with caplog.at_level(logging.ERROR):
            world.publish(mark="a")
            world.publish(mark="a")
        for _ in range(2):
            with pytest.raises(DeploymentUnavailableError, match="shop#model .* plugin p failed"):
                await world.service(call())
        assert len(caplog.records) == 1
        world.error = None
        world.publish(mark="b")
        await world.service(call())
        assert world.passed == ["b"]

    run(main)


def test_a_task_free_layer_needs_no_task(run):
    """A task-free layer's first step may run in any task, as in `remote()`."""

    async def main():
        world = World()
        world.publish(mark="a")
        assert step(world.service(call())).payload == (b"core",)
        assert world.tasks == [asyncio.current_task()]

    run(main)


def test_another_layer_gets_a_task_of_its_own(run):
    """A layer that is not task-free runs in a task of its own."""

    async def main():
        world = World(task_free=False)
        world.publish(mark="a")
        await world.service(call())
        assert world.tasks != [asyncio.current_task()]
        # Whoever makes a call with a deadline has made a task for it.
        await world.service(call(5.0))
        assert world.tasks[1] is asyncio.current_task()

    run(main)


def test_cancelling_a_call_cancels_its_task(run):
    """The cancellation of a call reaches its layers."""

    async def main():
        world = World(task_free=False)
        cancelled = asyncio.Event()

        async def endless(request):
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        world.service = LayeredService(HERE, endless, world.describe, world.build, world.follow)
        world.publish(mark="a")
        task = asyncio.create_task(_awaited(world.service(call())))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert cancelled.is_set()

    run(main)


def test_a_reply_that_comes_as_its_call_is_given_up_is_closed(run):
    """A reply that arrives with the cancellation is closed, so that its replica stops."""

    class Rest:
        closed = False

        def __aiter__(self):
            return self

        async def __anext__(self):
            raise StopAsyncIteration

        async def aclose(self):
            self.closed = True

    async def main():
        world = World(task_free=False)
        rest = Rest()

        async def core(request):
            return Reply((b"begin",), rest)

        world.service = LayeredService(HERE, core, world.describe, world.build, world.follow)
        world.publish(mark="a")
        steps = world.service(call())
        task = steps.send(None)
        await asyncio.wait([task])
        with pytest.raises(asyncio.CancelledError):
            steps.throw(asyncio.CancelledError())
        assert rest.closed

    run(main)


def test_waiting_for_the_first_snapshot_has_bounds(run):
    """A deadline limits the wait, and `MAX_WAITING` the number of waiting calls."""

    async def main():
        world = World()
        with pytest.raises(DeadlineExceededError):
            await world.service(call(0.01))
        waiting = [asyncio.create_task(_awaited(world.service(call()))) for _ in range(MAX_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(BackPressureError):
            await world.service(call())
        world.service.close()
        await asyncio.gather(*waiting)
        assert world.built == []

    run(main)


def test_a_service_that_is_not_followed_waits_for_options_again(run):
    """After `forget`, a call waits for a new snapshot: the options may have changed."""

    async def main():
        world = World()
        world.publish(mark="a")
        world.service.forget()
        early = asyncio.create_task(_awaited(world.service(call())))
        await asyncio.sleep(0)
        assert world.followed == 1
        world.publish(mark="b")
        await early
        assert world.passed == ["b"]

    run(main)
