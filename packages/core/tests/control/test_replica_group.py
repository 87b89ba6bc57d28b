"""The replicas of a deployment: waiting, settings, failures, scaling and migration."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from alacarte.errors import DeployError
from alacarte.status import DeploymentStatus, ReplicaState

from .group_world import Main, World, return_at_once, spec


def test_what_is_missing_is_said_while_a_replica_waits(
    run: Callable[[Main], None], caplog: pytest.LogCaptureFixture
):
    """Status and log name the resource, how much is needed, how much is free, and a remedy."""

    async def main() -> None:
        world = World(num_replicas=1)
        world.cluster.places.clear()
        world.cluster.lacks = {"GPU": (2.0, 0.0)}
        await asyncio.sleep(15)
        assert "; 2 GPUs; the cluster has 0 free. Lower" in world.overview.waiting_for
        [replica] = world.overview.replicas
        assert replica.message.startswith("waits for 2 GPUs; the cluster has 0 free. Lower")
        assert (
            "Deployment 'shop#Model' waits for 2 GPUs; the cluster has 0 free. "
            "Lower `ray_actor_options['num_gpus']`, or add a node." in caplog.text
        )
        world.cluster.places.set()
        await world.healthy()
        assert world.overview.waiting_for == ""
        await world.close()

    run(main)


def test_a_deployment_that_waits_says_so_rarely(
    run: Callable[[Main], None], caplog: pytest.LogCaptureFixture
):
    """One log line covers all waiting replicas; the pause between lines doubles."""

    async def main() -> None:
        world = World(num_replicas=5)
        world.cluster.places.clear()
        world.cluster.lacks = {"CPU": (1.0, 0.0)}
        await asyncio.sleep(4)
        assert "wait" not in caplog.text
        await asyncio.sleep(3600)
        lines = [line for line in caplog.messages if "5 replicas wait, each for 1 CPU" in line]
        assert 5 <= len(lines) <= 8
        caplog.clear()
        world.cluster.places.set()
        await world.healthy()
        world.cluster.places.clear()
        world.want(spec("v2", num_replicas=5))
        await asyncio.sleep(8)
        assert "5 replicas wait" in caplog.text, "the next wait is another one"
        await world.close()

    run(main)


def test_a_short_wait_is_nobodys_business(
    run: Callable[[Main], None], caplog: pytest.LogCaptureFixture
):
    """A wait of a few seconds during an update is not logged."""

    async def main() -> None:
        world = World(num_replicas=1)
        world.cluster.places.clear()
        world.cluster.lacks = {"CPU": (1.0, 0.0)}
        await asyncio.sleep(3)
        world.cluster.places.set()
        await world.healthy()
        await asyncio.sleep(60)
        assert "waits for" not in caplog.text
        await world.close()

    run(main)


def test_a_process_that_does_not_come_up_is_tried_again(run: Callable[[Main], None]):
    """A process that is not up within `actor_start_timeout_s` is replaced."""

    async def main() -> None:
        world = World()
        world.cluster.places.clear()
        await world.until(lambda: world.overview.recent_failures, 195)
        assert "has not come up within 180 s" in world.overview.recent_failures[0].message
        world.cluster.lacks = {"CPU": (1.0, 0.0)}
        await asyncio.sleep(3600)
        assert len(world.overview.recent_failures) == 1
        world.cluster.places.set()
        await world.healthy()
        await world.close()

    run(main)


def test_room_that_a_replica_takes_itself_is_not_missing(run: Callable[[Main], None]):
    """A slow start counts as slow, and no old replica makes room, if there was room at first."""

    async def main() -> None:
        world = World(num_replicas=1)
        await world.healthy()
        [old] = world.cluster.processes
        world.cluster.places.clear()
        world.want(spec("v2"))
        await asyncio.sleep(1)
        world.cluster.lacks = {"CPU": (1.0, 0.0)}  # Ray has set aside the last for it
        await asyncio.sleep(25)
        assert not old.stopped
        world.cluster.places.set()
        await world.until(lambda: old.stopped, 5)
        await world.close()

    run(main)


def test_periods_and_time_limits_reach_replicas_that_run(run: Callable[[Main], None]):
    """Changed periods and timeouts apply without a restart of the replicas."""

    async def main() -> None:
        world = World(health_check_period_s=5)
        await world.healthy()
        [process] = world.cluster.processes
        world.want(spec(health_check_period_s=0.5, graceful_shutdown_timeout_s=77))
        await asyncio.sleep(6)  # the check that was under way
        process.health = DeployError("no")
        await world.until(lambda: world.overview.recent_failures, 3)
        await world.until(lambda: process.stopped, 10)
        assert process.limit_s == 77
        await world.close()

    run(main)


def test_a_reconfigure_that_never_returns_is_refused_in_the_end(run: Callable[[Main], None]):
    """A `reconfigure` that exceeds `start_timeout_s` counts as refused."""

    async def main() -> None:
        world = World(user_config="good", start_timeout_s=60)
        await world.healthy()
        world.want(spec(user_config="endless", start_timeout_s=60))
        await world.until(lambda: world.overview.recent_failures, 61)
        assert "has not returned" in world.overview.recent_failures[0].message
        await world.until(lambda: len(world.cluster.processes) == 2, 10)
        await world.close()

    run(main)


def test_a_fault_of_ours_shows_in_the_status(run: Callable[[Main], None]):
    """An internal error shows as UNHEALTHY and INTERNAL_ERROR until the next success."""

    async def main() -> None:
        world = World()
        await world.healthy()
        world.group.report_internal_error(KeyError("oh"))
        assert world.group.short_overview(world.group.views).status_trigger == "INTERNAL_ERROR"
        assert "KeyError('oh')" in world.group.short_overview(world.group.views).message
        world.dirty.set()
        await world.healthy()
        await world.close()

    run(main)


def test_a_reconfigure_that_raises_costs_no_capacity(run: Callable[[Main], None]):
    """One replica refuses the settings, all keep serving, and good settings repair it."""

    async def main() -> None:
        world = World(num_replicas=3, user_config="good")
        await world.healthy()
        first = list(world.cluster.processes)
        world.want(spec(num_replicas=3, user_config="bad"))
        await world.until(lambda: world.overview.status is DeploymentStatus.DEPLOY_FAILED)
        assert "cannot take this" in world.overview.message
        assert len(world.group.entries) == 3
        assert [process.end.done() for process in first] == [False] * 3
        world.want(spec(num_replicas=3, user_config="better"))
        await world.healthy()
        assert [process.config for process in first] == ["better"] * 3
        assert world.cluster.alive == first
        await world.close()

    run(main)


def test_failed_starts_are_tried_again_ever_more_slowly(run: Callable[[Main], None]):
    """A deployment that has run retries failed starts without end, with growing pauses."""

    async def main() -> None:
        world = World(num_replicas=1)
        await world.healthy()

        async def refuse() -> None:
            raise DeployError("not now")

        world.cluster.constructor = refuse
        world.cluster.processes[0].kill()
        await asyncio.sleep(120)
        assert 15 < len(world.cluster.processes) < 45
        assert world.overview.status is DeploymentStatus.UNHEALTHY
        world.cluster.constructor = return_at_once
        await world.healthy()
        await world.close()

    run(main)


def test_a_scaling_is_told_as_such(run: Callable[[Main], None]):
    """The status shows upscaling and downscaling, and whether autoscaling chose it."""

    async def main() -> None:
        world = World(num_replicas=1)
        await world.healthy()
        world.group.scale(3)
        await world.healthy()
        assert world.overview.status_trigger == "UPSCALE_COMPLETED"
        assert world.overview.target_replicas == 3
        world.want(spec(num_replicas=1))
        await world.healthy()
        assert world.overview.status_trigger == "DOWNSCALE_COMPLETED"
        assert world.statuses == [
            DeploymentStatus.UPDATING,
            DeploymentStatus.HEALTHY,
            DeploymentStatus.UPSCALING,
            DeploymentStatus.HEALTHY,
        ]
        await world.close()

    run(main)


def test_a_leaving_node_s_replicas_are_replaced_elsewhere(run: Callable[[Main], None]):
    """Replicas on a draining node are PENDING_MIGRATION until a successor runs, then drain."""

    async def main() -> None:
        world = World(num_replicas=1)
        await world.healthy()
        leaving = world.cluster.processes[0]
        world.cluster.places.clear()
        world.group.migrate({"node": asyncio.get_running_loop().time() + 300})
        await asyncio.sleep(10)
        assert world.overview.replica_states == {"PENDING_MIGRATION": 1, "STARTING": 1}
        assert world.overview.status is DeploymentStatus.HEALTHY
        assert len(world.group.entries) == 1
        world.cluster.places.set()
        await world.until(lambda: leaving.stopped, 10)
        assert [entry.replica_id for entry in world.group.entries] != [leaving.spec.replica_id]
        await world.close()

    run(main)


def test_every_replica_says_how_it_is(run: Callable[[Main], None]):
    """The status of a replica has its state, time, version, node and process."""

    async def main() -> None:
        world = World(num_replicas=2)
        await world.healthy()
        for replica in world.overview.replicas:
            assert replica.state is ReplicaState.RUNNING
            assert (replica.version, replica.node_id, replica.pid) == ("v1", "node", 7)
            assert replica.since > 0
        await world.close()

    run(main)
