"""A deployment's replicas as processes, in virtual time, on a fake cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import pytest

from alacarte._cluster.cluster_protocol import ActorDied, ActorSpec
from alacarte._control.replica_group import ReplicaGroup
from alacarte._control.start_gate import CONSTRUCTOR_PERMIT_S, StartGate
from alacarte._model.deployment_spec import DeploymentSpec
from alacarte.actors import Liveness, Membership, ReplicaInfo
from alacarte.config import DeploymentConfig
from alacarte.errors import DeployError
from alacarte.status import DeploymentStatus, DeploymentStatusOverview, ReplicaState
from alacarte.types import Address, DeploymentId

ME = DeploymentId("shop", "Model")
WELL = Liveness(0.1, 0, 0, 5)
Main = Callable[[], Coroutine[Any, Any, None]]


class Process:
    """An actor whose user code is `health` and `constructor`; None for no code."""

    def __init__(self, cluster: Cluster, spec: ActorSpec) -> None:
        self.name = spec.name
        self.spec, self.membership = spec.args
        self.cluster = cluster
        self.end: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.health: Exception | None = None
        self.check_hangs = False
        self.liveness_is: Liveness | None = WELL
        self.frozen = False
        self.stopped = False
        self.limit_s = 0.0
        self.config = self.spec.user_config

    async def call(self, method: str, *args: Any) -> Any:
        if self.end.done():
            raise ActorDied("gone")
        if self.frozen:
            await asyncio.Event().wait()
        return await getattr(self, method)(*args)

    async def start(self) -> ReplicaInfo:
        await self.cluster.constructor()
        if self.spec.user_config == "bad":
            raise DeployError("ValueError: cannot take this\n  File user.py")
        return ReplicaInfo(
            ME, self.spec.replica_id, self.spec.version, Address("/x", "host", None), "node",
            7, self.spec.max_ongoing, self.spec.user_config,
            self.cluster.has_health_check,
        )  # fmt: skip

    async def check_health(self) -> None:
        if self.check_hangs:
            await asyncio.Event().wait()
        if self.health is not None:
            raise self.health

    async def probe_liveness(self) -> Liveness:
        if self.liveness_is is None:
            await asyncio.Event().wait()
        return self.liveness_is

    async def reconfigure(
        self, max_ongoing: int, user_config: Any, options: Mapping[str, Any]
    ) -> None:
        if user_config == "bad":
            raise DeployError("ValueError: cannot take this\n  File user.py")
        if user_config == "endless":
            await asyncio.Event().wait()
        self.config = user_config

    async def stop(self, limit_s: float) -> None:
        self.stopped = True
        self.limit_s = limit_s

    async def wait_closed(self) -> str:
        return await asyncio.shield(self.end)

    def kill(self) -> None:
        if not self.end.done():
            self.end.set_result("killed")


class Cluster:
    """A cluster that starts processes at once, or when the test lets it."""

    kind = "test"

    def __init__(self) -> None:
        self.processes: list[Process] = []
        self.places = asyncio.Event()
        self.places.set()
        self.lacks: dict[str, tuple[float, float]] = {}
        self.has_health_check = True
        self.ended: list[tuple[str, int]] = []
        self.constructor: Callable[[], Coroutine[Any, Any, None]] = _nothing

    async def start_actor(self, spec: ActorSpec) -> Process:
        await self.places.wait()
        process = Process(self, spec)
        self.processes.append(process)
        return process

    async def end_process(self, node_id: str, pid: int) -> None:
        self.ended.append((node_id, pid))

    async def missing(self, spec: ActorSpec) -> dict[str, tuple[float, float]]:
        return self.lacks

    @property
    def alive(self) -> list[Process]:
        return [process for process in self.processes if not process.end.done()]


async def _nothing() -> None:
    """A constructor that does."""


class World:
    """A group that is reconciled after every change, as the controller does."""

    def __init__(self, **options: Any) -> None:
        self.cluster = Cluster()
        self.gate = StartGate()
        self.spec = spec(**options)
        self.dirty = asyncio.Event()
        self.statuses: list[DeploymentStatus] = []
        options = {"max_message_bytes": 1, "transport": "unix", "actor_start_timeout_s": 180.0}
        config = {"cluster": options}
        self.group = ReplicaGroup(
            ME,
            self.cluster,
            Membership("i", b"s", config),
            (),
            self.gate,
            lambda _: self.dirty.set(),
            lambda *_: None,
        )
        self.group.set_spec(self.spec)
        self.task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while True:
            pause = self.group.reconcile()
            status = self.group.refresh().status
            if not self.statuses or self.statuses[-1] is not status:
                self.statuses.append(status)
            try:
                async with asyncio.timeout(pause and max(pause, 0.001)):
                    await self.dirty.wait()
            except TimeoutError:
                continue
            self.dirty.clear()

    @property
    def overview(self) -> DeploymentStatusOverview:
        self.group.refresh()
        return self.group.overview

    def want(self, wanted: DeploymentSpec | None) -> None:
        self.group.set_spec(wanted)
        self.dirty.set()

    async def until(self, condition: Callable[[], object], limit_s: float = 1000.0) -> None:
        async with asyncio.timeout(limit_s):
            while not condition():
                await asyncio.sleep(0.05)

    async def healthy(self) -> None:
        await self.until(lambda: self.overview.status is DeploymentStatus.HEALTHY)

    async def close(self) -> None:
        self.task.cancel()
        self.group.kill()
        for _ in range(5):
            await asyncio.sleep(0)


def spec(version: str = "v1", **options: Any) -> DeploymentSpec:
    return DeploymentSpec(ME, version, b"", b"", False, DeploymentConfig(**options))


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
        world.cluster.constructor = _nothing
        await world.until(lambda: frozen.end.done(), 310)
        await world.healthy()
        await world.close()

    run(main)


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
        assert world.group.summary(world.group.views).status_trigger == "INTERNAL_ERROR"
        assert "KeyError('oh')" in world.group.summary(world.group.views).message
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
        world.cluster.constructor = _nothing
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
