"""The routers of a process: created with the first call, dropped after their deployment's end."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from alacarte._control.snapshot_hub import SnapshotHub
from alacarte._model.snapshots import deployment_key
from alacarte._plugins.plugin_failures import PluginFailures
from alacarte._process.router_table import LINGER_S, MAX_DELETED, RouterTable
from alacarte._process.subscription import Subscription
from alacarte._routing.builtin_policies import PowerOfTwo
from alacarte._routing.chooser import Chooser
from alacarte._routing.router import Router
from alacarte._routing.sweep import Sweep
from alacarte.actors import DeploymentSnapshot, WatchRequest
from alacarte.calls import python_call
from alacarte.errors import DeploymentUnavailableError
from alacarte.types import Address, DeploymentId, DeploymentInfo, Layer, StagedLayer

CALL = python_call("__call__", (), {})


def app(name: str) -> DeploymentId:
    return DeploymentId(name, "Model")


class World:
    """A table of routers with a hub, without replicas."""

    def __init__(self) -> None:
        self.hub = SnapshotHub()
        self.questions = 0
        self.sweep = Sweep(asyncio.get_running_loop())
        self.subscription = Subscription(self.watch, "w", "w/1")
        self.table = RouterTable(self.router, self.layers, None, self.subscription)
        self.made: list[DeploymentId] = []

    async def watch(self, request: WatchRequest) -> Mapping[str, Any]:
        self.questions += 1
        for key in request.known:
            if self.hub.current(key) is None:
                name = key.removeprefix("deployment:").partition("#")[0]
                self.publish(name, "absent")
        return await self.hub.watch(request)

    def router(self, deployment: DeploymentId) -> Router:
        self.made.append(deployment)
        return Router(deployment, _policy, _refused, "", sweep=self.sweep)

    def layers(self, deployment: DeploymentInfo) -> Sequence[StagedLayer[Layer]]:
        return ()

    def publish(self, name: str, state: Any) -> None:
        version = self.hub.next_version()
        key = deployment_key(app(name))
        self.hub.publish(key, version, DeploymentSnapshot(app(name), version, state, "of a test"))
        if state == "absent":
            self.hub.retire(key)

    async def fails(self, service: Any) -> None:
        with pytest.raises(DeploymentUnavailableError, match="of a test"):
            await service(CALL)

    async def close(self) -> None:
        self.subscription.close()
        await self.table.close()
        if self.table._timer is not None:
            self.table._timer.cancel()
        for _ in range(10):
            await asyncio.sleep(0)


def _policy(snapshot: DeploymentSnapshot) -> Chooser:
    return Chooser(PowerOfTwo(), snapshot.policy, "test", snapshot.id, PluginFailures())


async def _refused(replica_id: str, address: Address) -> Any:
    raise ConnectionRefusedError


def test_nothing_is_left_of_a_deleted_deployment(run):
    """Calls fail at once for a while; then no router, key or sweep is left."""

    async def main():
        world = World()
        await world.fails(world.table.service(app("a")))
        assert world.table.is_deleted(app("a"))
        questions = world.questions
        await world.fails(world.table.service(app("a")))
        assert world.questions == questions
        [router] = (weakref.ref(each) for each in world.table.live.values())
        await asyncio.sleep(2 * LINGER_S)
        assert world.table.live == {}
        assert world.subscription.keys == ()
        assert world.sweep._checks == []
        assert world.table.is_deleted(app("a"))
        gc.collect()
        assert router() is None
        assert not world.table._dropped
        await world.close()

    run(main)


def test_a_service_that_was_kept_works_again(run):
    """A call through a kept service brings the dropped router back."""

    async def main():
        world = World()
        kept = world.table.service(app("a"))
        await world.fails(kept)
        await asyncio.sleep(2 * LINGER_S)
        await world.fails(kept)
        assert world.table.live.keys() == {app("a")}
        await asyncio.sleep(2 * LINGER_S)
        assert world.table.live == {}
        world.publish("a", "up")
        waiting = asyncio.create_task(kept(CALL))
        await asyncio.sleep(1)
        assert world.table.live[app("a")].queued == 1
        assert world.table.service(app("a")) is not None
        waiting.cancel()
        assert world.made == [app("a")]
        await world.close()

    run(main)


def test_a_deployment_has_one_router(run):
    """New services of a dropped deployment share the router of kept ones."""

    async def main():
        world = World()
        kept = world.table.service(app("a"))
        await world.fails(kept)
        await asyncio.sleep(2 * LINGER_S)
        world.publish("a", "up")
        other = world.table.service(app("a"))
        waiting = [asyncio.create_task(service(CALL)) for service in (kept, other)]
        await asyncio.sleep(1)
        assert world.table.live[app("a")].queued == 2
        assert world.made == [app("a")]
        for task in waiting:
            task.cancel()
        await world.close()

    run(main)


def test_one_that_comes_back_in_time_stays(run):
    """A redeployment under the same name needs no new router, and is not dropped later."""

    async def main():
        world = World()
        await world.fails(world.table.service(app("a")))
        await asyncio.sleep(LINGER_S / 2)
        world.publish("a", "up")
        await asyncio.sleep(3 * LINGER_S)
        assert world.table.live.keys() == {app("a")}
        assert not world.table.is_deleted(app("a"))
        await world.close()

    run(main)


def test_only_so_many_linger(run):
    """The number of deleted deployments that are still watched is limited."""

    async def main():
        world = World()
        for number in range(3 * MAX_DELETED):
            await world.fails(world.table.service(app(f"a{number}")))
        assert len(world.table.live) <= MAX_DELETED + 1
        assert len(world.subscription.keys) <= MAX_DELETED + 1
        await world.close()

    run(main)


def test_calls_fail_after_the_end(run):
    """After `close`, calls fail, also those through services of dropped routers."""

    async def main():
        world = World()
        kept = world.table.service(app("a"))
        await world.fails(kept)
        await asyncio.sleep(2 * LINGER_S)
        await world.close()
        with pytest.raises(DeploymentUnavailableError, match="shutting down"):
            await kept(CALL)

    run(main)
