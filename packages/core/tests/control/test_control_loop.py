"""The control loop, in virtual time: plans, the order of deletions, and internal errors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from alacarte import _plugins
from alacarte._cluster.cluster_protocol import ActorContext, ActorSpec, Capacity, Node
from alacarte._control.bootstrap import BootstrapResult
from alacarte._control.control_loop import ControlLoop
from alacarte._control.desired_state import DesiredState
from alacarte._control.publisher import Publisher
from alacarte._control.recovery import Recovery, Survivor
from alacarte._control.replica_group import ReplicaGroup
from alacarte._control.report_topics import ReportTopics
from alacarte._control.start_gate import StartGate
from alacarte._model.plan import Plan
from alacarte._model.snapshots import deployment_key
from alacarte._plugins import Plugins
from alacarte.actors import Liveness, Membership, ReplicaInfo
from alacarte.testing import FakeClock
from alacarte.types import Address, DeploymentId

from ..plan_support import application, planned

CONFIG = {"cluster": {"actor_start_timeout_s": 60.0}}
MINE = Membership("i", b"mine", CONFIG)
CALLEE, CALLER = DeploymentId("a", "callee"), DeploymentId("a", "caller")
LIMIT_S = 100.0


class Process:
    """A replica's process that is up at once and stops when the cluster lets it."""

    def __init__(self, cluster: Cluster, name: str, info: ReplicaInfo) -> None:
        self.name = name
        self.info = info
        self.cluster = cluster
        self.end: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def call(self, method: str, *args: Any) -> Any:
        match method:
            case "start":
                return self.info
            case "probe_liveness":
                return Liveness(0.1, 0, 0, 5)
            case "stop":
                self.cluster.stopped.append(self.info.deployment)
                await self.cluster.may_stop.wait()
        return None

    async def wait_closed(self) -> str:
        return await asyncio.shield(self.end)

    def kill(self) -> None:
        if not self.end.done():
            self.end.set_result("killed")


class Cluster:
    """A cluster with room for everything."""

    kind = "test"

    def __init__(self) -> None:
        self.started: list[DeploymentId] = []
        self.stopped: list[DeploymentId] = []
        self.may_stop = asyncio.Event()
        self.may_stop.set()

    async def start_actor(self, spec: ActorSpec) -> Process:
        inside, _ = spec.args
        self.started.append(inside.deployment)
        return Process(self, spec.name, info(inside.deployment, inside.replica_id))

    async def missing(self, spec: ActorSpec) -> dict[str, tuple[float, float]]:
        return {}

    async def capacity(self, wanted: Any) -> Capacity:
        return Capacity()


def info(deployment: DeploymentId, replica_id: str) -> ReplicaInfo:
    return ReplicaInfo(deployment, replica_id, "v1", Address("/x", "h", None), "n", 7, 100, None)


class World:
    """A control loop with its publisher."""

    def __init__(self, plugins: Plugins, *survivors: Survivor) -> None:
        self.cluster: Any = Cluster()
        node = Node("n", "127.0.0.1", is_head=True)
        context = ActorContext(self.cluster, "c", node, "host", "/tmp", plugins)
        recovery = Recovery(self.cluster, "i")
        self.bootstrap = BootstrapResult(
            MINE, DesiredState("i", CONFIG), recovery, survivors, None, [node]
        )
        topics = ReportTopics.of(plugins)
        self.publisher = Publisher(plugins, topics)
        self.loop = ControlLoop(context, self.bootstrap, StartGate(), self.publisher, topics)
        self.loop.start()

    def serving(self, deployment: DeploymentId) -> int:
        """Return how many replicas the routers know."""
        current = self.publisher.hub.current(deployment_key(deployment))
        return 0 if current is None else len(current.replicas)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not condition():
                await asyncio.sleep(0.1)

    async def running(self) -> None:
        await self.until(lambda: self.serving(CALLEE) == self.serving(CALLER) == 1)


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    core = [record for record in _plugins.discover() if record.name == "core"]
    return _plugins.load(core, strict=True)


def both() -> Plan:
    return planned(application("a", "callee", "caller"))


def play(plugins: Plugins, main: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    async def ended() -> None:
        world = World(plugins)
        await main(world)
        await stopped(world)

    FakeClock().run(ended())


async def stopped(world: World) -> None:
    async def nothing(key: str) -> None:
        """There is no map."""

    world.cluster.delete = nothing
    await world.loop.stop()
    await asyncio.sleep(1)  # what was cancelled ends


def test_a_plan_is_pursued_once(plugins: Plugins):
    """The same plan again starts nothing, and publishes nothing."""

    async def main(world: World) -> None:
        plan = both()
        world.loop.apply_plan(plan)
        await world.running()
        before = world.publisher.hub.current(deployment_key(CALLER))
        world.loop.apply_plan(plan)
        await asyncio.sleep(50)
        assert world.cluster.started == [CALLEE, CALLER]
        assert world.publisher.hub.current(deployment_key(CALLER)) is before

    play(plugins, main)


def test_a_callee_goes_after_its_callers(plugins: Plugins):
    """A deleted deployment serves until all its callers have ended; then no group is left."""

    async def main(world: World) -> None:
        world.loop.apply_plan(both())
        await world.running()
        world.cluster.may_stop.clear()
        world.loop.apply_plan(Plan())
        await world.until(lambda: world.cluster.stopped)
        await asyncio.sleep(10)
        assert world.cluster.stopped == [CALLER]
        assert world.serving(CALLEE) == 1
        assert world.loop.groups[CALLEE].deletion_deferred
        assert world.loop.groups[CALLEE].full_overview.status_trigger == "DELETING"
        world.cluster.may_stop.set()
        await world.until(lambda: not world.loop.groups)
        assert world.cluster.stopped == [CALLER, CALLEE]

    play(plugins, main)


def test_a_deletion_is_taken_back(plugins: Plugins):
    """A callee that is deployed again before its deletion keeps its replica."""

    async def main(world: World) -> None:
        plan = both()
        world.loop.apply_plan(plan)
        await world.running()
        world.cluster.may_stop.clear()
        world.loop.apply_plan(Plan())
        await world.until(lambda: world.cluster.stopped)
        world.loop.apply_plan(both())
        world.cluster.may_stop.set()
        await world.running()
        assert world.cluster.stopped == [CALLER]
        assert world.cluster.started == [CALLEE, CALLER, CALLER]

    play(plugins, main)


def test_a_fault_of_one_deployment_stops_no_other(plugins: Plugins):
    """The status of the failing deployment shows the error, and its reconciliation is retried."""

    async def main(world: World) -> None:
        reconcile = ReplicaGroup.reconcile

        def broken(group: ReplicaGroup) -> float | None:
            if group.deployment == CALLEE:
                raise KeyError("oh")
            return reconcile(group)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ReplicaGroup, "reconcile", broken)
            world.loop.apply_plan(both())
            await world.until(lambda: world.serving(CALLER))
            shown = world.loop.groups[CALLEE].full_overview
            assert "KeyError('oh')" in shown.message
        await world.running()

    play(plugins, main)


def test_survivors_are_adopted_before_anything_is_published(plugins: Plugins):
    """Survivors with another secret or without a deployment drain; the others are adopted."""

    async def main() -> None:
        cluster = Cluster()

        def survivor(deployment: DeploymentId, replica_id: str, secret: bytes) -> Survivor:
            told = info(deployment, replica_id)
            actor: Any = Process(cluster, f"alacarte:i:replica:{replica_id}", told)
            return Survivor(actor, told, Membership("i", secret, CONFIG))

        world = World(
            plugins,
            survivor(CALLEE, "a#callee#1", b"mine"),
            survivor(CALLER, "a#caller#1", b"another's"),
            survivor(DeploymentId("old", "x"), "old#x#1", b"mine"),
        )
        plan = both()
        world.loop.adopt(world.bootstrap, plan)
        assert (world.serving(CALLEE), world.serving(CALLER)) == (1, 0)
        world.loop.apply_plan(plan)
        await world.running()
        assert world.cluster.started == [CALLER]
        assert sorted(cluster.stopped) == [CALLER, DeploymentId("old", "x")]
        await stopped(world)

    FakeClock().run(main())
