"""The start, the health and the end of replicas, in virtual time, on a fake cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from alacarte._control.start_gate import CONSTRUCTOR_PERMIT_S
from alacarte.actors import Liveness
from alacarte.errors import DeployError
from alacarte.status import DeploymentStatus

from .group_world import Main, World, return_at_once, spec


def test_a_check_that_fails_three_times_replaces_the_replica_successor_first(
    run: Callable[[Main], None],
):
    """The successor runs before the replica drains, and the status has the failure meanwhile."""

    async def main() -> None:
        world = World(num_replicas=2)
        await world.healthy()
        ill, well = world.cluster.processes
        ill.health = DeployError("RuntimeError: out of memory\n  File user.py")
        world.cluster.places.clear()
        ids = {entry.replica_id for entry in world.group.entries}
        await world.until(lambda: world.overview.status is DeploymentStatus.UNHEALTHY)
        seen = world.overview
        assert seen.status_trigger == "HEALTH_CHECK_FAILED"
        assert "out of memory" in seen.message
        assert "File user.py" in seen.recent_failures[-1].traceback
        await asyncio.sleep(20)
        assert not ill.stopped
        world.cluster.places.set()
        await world.until(lambda: ill.stopped)
        now = {entry.replica_id for entry in world.group.entries}
        assert len(now) == 2
        assert ill.spec.replica_id not in now
        assert well.spec.replica_id in now & ids
        await world.until(lambda: ill.end.done())
        await world.healthy()
        assert world.overview.message == ""
        await world.close()

    run(main)


def test_a_check_that_hangs_is_found_within_three_periods(run: Callable[[Main], None]):
    """With a period and a timeout of 1 s, the successor is requested after four seconds."""

    async def main() -> None:
        world = World(health_check_period_s=1, health_check_timeout_s=1)
        await world.healthy()
        world.cluster.processes[0].check_hangs = True
        began = asyncio.get_running_loop().time()
        await world.until(lambda: len(world.cluster.processes) == 2)
        assert asyncio.get_running_loop().time() - began < 4.5
        await world.close()

    run(main)


def test_starts_wait_for_each_other(run: Callable[[Main], None]):
    """The gate limits concurrent starts, the status shows it, and no old replica makes room."""

    async def main() -> None:
        world = World(num_replicas=1)
        await world.healthy()
        [old] = world.cluster.processes
        world.gate.resize(1)
        free = asyncio.Event()
        world.cluster.constructor = free.wait
        blocker = await world.gate.acquire("another")
        blocker.extend(1000)
        world.want(spec("v2"))
        await asyncio.sleep(100)
        assert len(world.cluster.processes) == 1
        assert not old.stopped
        [_, new] = world.overview.replicas
        assert new.message.startswith("waits for other replicas to start")
        assert "other replicas to start: at most one per CPU core" in world.overview.waiting_for
        blocker.release()
        await world.until(lambda: len(world.cluster.processes) == 2, 1)
        await asyncio.sleep(1)
        assert not old.stopped
        assert world.gate.is_full
        free.set()
        await world.until(lambda: old.end.done())
        assert not world.gate.is_full
        await world.close()

    run(main)


def test_a_start_that_takes_no_core_holds_nobody_up(run: Callable[[Main], None]):
    """Long constructors and waits for resources do not block other starts."""

    async def main() -> None:
        world = World(num_replicas=1)
        world.gate.resize(1)
        world.cluster.constructor = asyncio.Event().wait
        await world.until(lambda: world.cluster.processes)
        (await asyncio.wait_for(world.gate.acquire("another"), CONSTRUCTOR_PERMIT_S + 1)).release()
        world.cluster.places.clear()
        world.cluster.lacks = {"GPU": (1.0, 0.0)}
        world.want(spec("v2"))
        (await asyncio.wait_for(world.gate.acquire("another"), 1)).release()
        await world.close()

    run(main)


def test_a_doubtful_replica_rests_before_it_is_replaced(run: Callable[[Main], None]):
    """After two failed checks a replica gets no requests; after a success it does again."""

    async def main() -> None:
        world = World(num_replicas=2)
        await world.healthy()
        ill = world.cluster.processes[0]
        ill.health = DeployError("no")
        await world.until(lambda: len(world.group.entries) == 1, 25)
        ill.health = None
        await world.until(lambda: len(world.group.entries) == 2, 15)
        assert len(world.cluster.processes) == 2
        await world.close()

    run(main)


def test_when_every_check_fails_all_go_on(run: Callable[[Main], None]):
    """A dependency that is down takes no replica out of service, whose successors fail alike."""

    async def main() -> None:
        world = World(num_replicas=2)
        await world.healthy()
        first = list(world.cluster.processes)

        async def refuse() -> None:
            raise DeployError("the database is down")

        world.cluster.constructor = refuse
        for process in first:
            process.health = DeployError("the database is down")
        await asyncio.sleep(200)
        assert [process.end.done() for process in first] == [False, False]
        assert len(world.group.entries) == 2
        assert "the database is down" in world.overview.message
        for process in first:
            process.health = None
        await world.healthy()
        assert len(world.group.entries) == 2
        await world.close()

    run(main)


@pytest.mark.parametrize(
    ("liveness", "said"),
    [
        (Liveness(45.0, 1, 0, 5), "its event loop has been blocked for 45 s"),
        (Liveness(0.1, 0, 5, 5), "all its 5 threads are busy"),
    ],
)
def test_without_a_check_of_the_user_s_the_process_is_looked_at(
    run: Callable[[Main], None], liveness: Liveness, said: str
):
    """A blocked loop or exhausted threads make a replica unhealthy."""

    async def main() -> None:
        world = World(num_replicas=2)
        world.cluster.has_health_check = False
        await world.healthy()
        ill = world.cluster.processes[0]
        ill.liveness_is = liveness
        await world.until(lambda: ill.end.done(), 40)
        assert said in world.overview.recent_failures[-1].message
        await world.healthy()
        await world.close()

    run(main)


def test_one_that_leaves_and_was_not_told_to_by_us(run: Callable[[Main], None]):
    """A replica that a former controller drained late is replaced."""

    async def main() -> None:
        world = World(num_replicas=1)
        await world.healthy()
        [leaver] = world.cluster.processes
        leaver.liveness_is = Liveness(0.1, 0, 0, 5, draining=True)
        leaver.health = ValueError("its object has ended")
        await world.until(lambda: leaver.stopped and leaver.end.done(), 40)
        await world.healthy()
        assert len(world.cluster.processes) == 2
        assert world.overview.recent_failures == ()
        await world.close()

    run(main)


def test_a_frozen_process_is_replaced_within_seconds_of_a_suspicion(
    run: Callable[[Main], None],
):
    """A process that answers no probe is replaced without three failed checks.

    Its requests have their time, in case that it goes on; then it is ended.
    """

    async def main() -> None:
        world = World(num_replicas=2)
        await world.healthy()
        frozen, other = world.cluster.processes
        frozen.frozen = True
        world.group.suspect(frozen.spec.replica_id)
        await world.until(lambda: len(world.cluster.processes) == 3, 6.5)
        await world.until(lambda: len(world.group.entries) == 2, 0.5)
        ids = {entry.replica_id for entry in world.group.entries}
        assert ids == {other.spec.replica_id, world.cluster.processes[2].spec.replica_id}
        assert "has not answered for 6 s" in world.overview.recent_failures[-1].message
        assert not frozen.end.done()
        await world.until(lambda: frozen.end.done(), 26)
        await world.until(lambda: world.cluster.ended == [("node", 7)], 1)
        await world.close()

    run(main)


def test_a_process_that_goes_on_is_kept(run: Callable[[Main], None]):
    """A process that was blocked for a while and answers again is kept."""

    async def main() -> None:
        world = World(num_replicas=1)
        await world.healthy()
        [busy] = world.cluster.processes
        world.cluster.constructor = lambda: asyncio.sleep(10)
        busy.frozen = True
        world.group.suspect(busy.spec.replica_id)
        await world.until(lambda: len(world.cluster.processes) == 2, 6.5)
        busy.frozen = False
        await world.until(lambda: len(world.overview.replicas) == 1, 3)
        await world.healthy()
        assert not busy.end.done()
        await world.close()

    run(main)


def test_a_suspicion_against_one_that_answers_changes_nothing(run: Callable[[Main], None]):
    """A reported replica that answers its probe stays."""

    async def main() -> None:
        world = World(num_replicas=1)
        await world.healthy()
        world.group.suspect(world.cluster.processes[0].spec.replica_id)
        world.group.suspect("no such replica")
        await asyncio.sleep(60)
        assert not world.cluster.processes[0].end.done()
        assert not world.overview.recent_failures
        await world.close()

    run(main)


def test_a_check_that_hangs_counts_as_failed(run: Callable[[Main], None]):
    """A check that exceeds `health_check_timeout_s` counts as failed, and starts a probe."""

    async def main() -> None:
        world = World(num_replicas=1, health_check_period_s=10, health_check_timeout_s=5)
        await world.healthy()
        frozen = world.cluster.processes[0]
        frozen.frozen = True
        await world.until(lambda: len(world.cluster.processes) == 2, 11 + 5 + 6.5)
        await world.until(lambda: frozen.end.done(), 26)
        await world.healthy()
        await world.close()

    run(main)


def test_a_constructor_that_takes_too_long_is_a_failed_start(run: Callable[[Main], None]):
    """`start_timeout_s` ends the constructor, and the deployment fails after three attempts."""

    async def main() -> None:
        world = World(start_timeout_s=60)
        world.cluster.constructor = lambda: asyncio.sleep(600)
        await world.until(lambda: world.overview.status is DeploymentStatus.DEPLOY_FAILED)
        assert "has not returned within start_timeout_s=60 s" in world.overview.message
        assert [failure.kind for failure in world.overview.recent_failures] == ["start"] * 3
        assert not world.cluster.alive
        await world.close()

    run(main)


def test_a_process_that_is_stopped_while_it_starts_is_ended(run: Callable[[Main], None]):
    """A constructor may take any time, but its process must answer probes."""

    async def main() -> None:
        world = World()
        world.cluster.constructor = lambda: asyncio.sleep(3600)
        await world.until(lambda: world.cluster.processes)
        [frozen] = world.cluster.processes
        await asyncio.sleep(60)
        assert not frozen.end.done()
        frozen.frozen = True
        world.cluster.constructor = return_at_once
        await world.until(lambda: frozen.end.done(), 310)
        await world.healthy()
        await world.close()

    run(main)
