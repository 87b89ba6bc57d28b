"""The review of capacity: each message is logged at once and once, and cleared."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import pytest

from alacarte._cluster.cluster_protocol import ActorSpec, Capacity, ClusterUnresponsive
from alacarte._control.capacity_review import CapacityReview, judge_capacity
from alacarte.types import DeploymentId

Main = Callable[[], Coroutine[Any, Any, None]]
MODEL = DeploymentId("shop", "Model")
ONE_CPU = ActorSpec("", "", options={"num_cpus": 1.0})
TOO_MUCH = (
    "Deployment 'shop#Model' asks for 5 CPUs (5 replicas of 1 CPU); the cluster has 2 in all. "
    "Lower `num_replicas` or `ray_actor_options['num_cpus']`, or add a node."
)


class Cluster:
    """A cluster with some CPUs on one node."""

    def __init__(self, cpus: float) -> None:
        self.cpus = cpus
        self.silent = False
        self.grows = False
        self.asked = 0

    async def capacity(self, wanted: Mapping[str, tuple[ActorSpec, int]]) -> Capacity:
        self.asked += 1
        if self.silent:
            raise ClusterUnresponsive("no word")
        each = {key: float(spec.options["num_cpus"]) for key, (spec, _) in wanted.items()}
        asked = sum(each[key] * count for key, (_, count) in wanted.items())
        return Capacity(
            {key: {"CPU": (cpus, self.cpus)} for key, cpus in each.items() if cpus > self.cpus},
            {"CPU": (asked, self.cpus)} if asked > self.cpus else {},
            {key: {"CPU": cpus} for key, cpus in each.items()},
            self.grows,
        )


class World:
    def __init__(self, cpus: float = 2) -> None:
        self.cluster: Any = Cluster(cpus)
        self.wanted = {MODEL: (ONE_CPU, 1)}
        self.told: Mapping[DeploymentId, str] = {}
        self.review = CapacityReview(self.cluster, lambda: self.wanted, self.tell)
        self.task = asyncio.get_running_loop().create_task(self.review.follow())

    def tell(self, found: Mapping[DeploymentId, str]) -> None:
        self.told = found

    async def close(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def want(self, spec: ActorSpec, count: int) -> None:
        self.wanted = {**self.wanted, MODEL: (spec, count)}
        self.review.changed()
        await asyncio.sleep(0.1)


@pytest.fixture(autouse=True)
def _all_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def test_a_sum_that_is_too_large(run: Callable[[Main], None], caplog: pytest.LogCaptureFixture):
    """The message comes at once and once, and is cleared when a node joins."""

    async def main() -> None:
        world = World()
        await world.want(ONE_CPU, 2)
        assert world.told == {}
        await world.want(ONE_CPU, 5)
        assert world.told == {MODEL: TOO_MUCH}
        await asyncio.sleep(600)
        assert caplog.messages == [TOO_MUCH]
        world.cluster.cpus = 8
        await asyncio.sleep(20)
        assert world.told == {}
        asked = world.cluster.asked
        await asyncio.sleep(600)
        assert world.cluster.asked == asked, "what fits is not looked at again until it changes"
        await world.close()

    run(main)


def test_a_replica_that_is_too_large(run: Callable[[Main], None], caplog: pytest.LogCaptureFixture):
    """A replica that fits on no node gets its own message, without one about the sum."""

    async def main() -> None:
        world = World()
        await world.want(ActorSpec("", "", options={"num_cpus": 4.0}), 1)
        assert world.told[MODEL] == (
            "Deployment 'shop#Model': one replica asks for 4 CPUs; no node of the cluster has "
            "more than 2. Lower `ray_actor_options['num_cpus']`, or add a node."
        )
        assert caplog.messages == list(world.told.values())
        await world.close()

    run(main)


def test_a_composition_is_told_as_one(run: Callable[[Main], None]):
    """All four deployments of an application that is too large get one message about their sum."""

    async def main() -> None:
        world = World()
        world.wanted = {DeploymentId("shop", name): (ONE_CPU, 1) for name in "abcd"}
        world.review.changed()
        await asyncio.sleep(0.1)
        assert len(world.told) == 4
        [text] = set(world.told.values())
        assert text.startswith("Application 'shop' asks for 4 CPUs; the cluster has 2 in all.")
        await world.close()

    run(main)


def test_a_cluster_that_grows(run: Callable[[Main], None], caplog: pytest.LogCaptureFixture):
    """The message is no warning if an autoscaler may add nodes."""

    async def main() -> None:
        world = World()
        world.cluster.grows = True
        await world.want(ONE_CPU, 5)
        assert [record.levelname for record in caplog.records] == ["INFO"]
        await world.close()

    run(main)


def test_a_cluster_that_is_silent(run: Callable[[Main], None], caplog: pytest.LogCaptureFixture):
    """An unresponsive cluster causes no message."""

    async def main() -> None:
        world = World()
        world.cluster.silent = True
        await world.want(ONE_CPU, 5)
        assert (world.told, caplog.messages) == ({}, [])
        await world.close()

    run(main)


def test_what_only_the_cluster_counts():
    """Whatever a cluster says that replicas ask for is told, of those that ask for it."""
    room = "room for shop#Model (at most 1 on a node)"
    other = DeploymentId("shop", "Other")
    asks = {str(MODEL): {"CPU": 1.0, room: 1.0}, str(other): {"CPU": 1.0}}
    capacity = Capacity(totals={room: (3.0, 2.0)}, requests=asks)
    assert judge_capacity({MODEL: (ONE_CPU, 3), other: (ONE_CPU, 1)}, capacity) == {
        MODEL: f"3 replicas want {room}; the nodes of the cluster take 2 in all. "
        "Lower `num_replicas`, or add a node."
    }
