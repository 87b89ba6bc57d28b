from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from alacarte import _plugins
from alacarte._cluster.cluster_protocol import ActorDied, ActorSpec
from alacarte._cluster.local import LocalCluster
from alacarte._cluster.stubs import stub
from alacarte._control.helper_actors import HelperActors
from alacarte._model.pickling import dump
from alacarte.types import DeploymentId, UserCode
from alacarte_autoscaling._custom_policies import CustomPolicies, PolicyFailure
from alacarte_autoscaling._policy_protocol import CustomPolicy, PolicyResult
from alacarte_autoscaling.config import AutoscalingConfig
from alacarte_autoscaling.types import AutoscalingContext

A, B, C = (DeploymentId("app", name) for name in "ABC")
PREFIX = "alacarte:test:helpers:"


def context(deployment: DeploymentId = A, asked: float = 6.0) -> AutoscalingContext:
    config = AutoscalingConfig(max_replicas=10)
    return AutoscalingContext(
        deployment, deployment.name, "app", 1, 1, asked, 0, 0, 1, 10, config, 1000.0
    )


def no_applications(app: Any) -> DeploymentId:
    raise AssertionError(f"{app} is not bound here")


def packed(policy: Any, **kwargs: Any) -> CustomPolicy:
    return CustomPolicy(UserCode("m:f", dump(policy, no_applications)), kwargs)


@pytest.fixture
async def cluster() -> AsyncIterator[LocalCluster]:
    cluster = LocalCluster()
    yield cluster
    for name in await cluster.list_actors(""):
        actor = await cluster.find_actor(name)
        assert actor is not None
        actor.kill()


@pytest.fixture
def policies(cluster: LocalCluster) -> CustomPolicies:
    return made(cluster)


def made(cluster: LocalCluster, limit_s: float = 60.0) -> CustomPolicies:
    core = [record for record in _plugins.discover() if record.name == "core"]
    return CustomPolicies(HelperActors(cluster, PREFIX, _plugins.load(core).loaded), limit_s)


async def test_functions_and_classes_are_asked(policies: CustomPolicies):
    """Sync and async functions, and classes with arguments, decide."""

    def plain(context: AutoscalingContext) -> float:
        return context.total_num_requests / 2

    async def later(context: AutoscalingContext) -> tuple[float, dict[str, Any]]:
        await asyncio.sleep(0)
        return context.total_num_requests, {}

    class Times:
        def __init__(self, factor: int) -> None:
            self.factor = factor

        def __call__(self, context: AutoscalingContext) -> float:
            return self.factor * context.total_num_requests

    asks = [(A, packed(plain)), (B, packed(later)), (C, packed(Times, factor=3))]
    answers = [policies.decide(who, policy, context(who)) for who, policy in asks]
    assert await asyncio.gather(*answers) == [3.0, 6.0, 18.0]


async def test_the_state_comes_back(policies: CustomPolicies):
    """The returned state of a policy is in its next context, and stays in its process."""

    def counts(context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        count = context.policy_state.get("count", 0) + 1
        return count, {"count": count, "whatever": threading.current_thread()}

    policy = packed(counts)
    assert [await policies.decide(A, policy, context()) for _ in range(3)] == [1.0, 2.0, 3.0]


async def test_a_failure_is_told_from_the_users_frame(policies: CustomPolicies):
    """The failure shows the exception with the user's line, even for SystemExit."""

    def broken(context: AutoscalingContext) -> float:
        raise ZeroDivisionError("no such luck")

    def leaves(context: AutoscalingContext) -> float:
        raise SystemExit(3)

    class Never:
        def __init__(self) -> None:
            raise OSError("no queue here")

    for policy, told in [
        (broken, "no such luck"),
        (leaves, "SystemExit"),
        (Never, "no queue here"),
    ]:
        with pytest.raises(PolicyFailure, match=told) as caught:
            await policies.decide(A, packed(policy), context())
        assert "test_custom_policies.py" in str(caught.value)
        assert "_run" not in str(caught.value)
    with pytest.raises(PolicyFailure, match="it returned 'many', which is not a number"):
        await policies.decide(A, packed(lambda context: "many"), context())
    with pytest.raises(PolicyFailure, match="unexpected keyword argument 'speed'"):
        await policies.decide(A, packed(Never, speed=3), context())
    assert await policies.decide(A, packed(lambda context: 2), context()) == 2


async def test_one_that_hangs_delays_nobody(cluster: LocalCluster):
    """A hanging policy fails at the time limit, delays no other policy, and can recover."""
    patient, policies = made(cluster), made(cluster, limit_s=0.3)
    await patient.decide(C, packed(lambda context: 1), context(C))  # one process for both of them
    go_on = threading.Event()

    class Blocks:
        # Its own, by reference: this is a local cluster, so it is the very event.
        def __reduce__(self) -> Any:
            return (_hand_over, (_hold(self),))

        def __call__(self, context: AutoscalingContext) -> int:
            go_on.wait(60)
            return 1

    blocking = asyncio.create_task(policies.decide(A, packed(Blocks()), context()))
    policy = packed(lambda context: 5)
    assert await patient.decide(B, policy, context(B)) == 5
    with pytest.raises(PolicyFailure, match="not decided within 0.3 s"):
        await blocking
    with pytest.raises(PolicyFailure, match="previous decision"):
        await policies.decide(A, packed(_held[-1]), context())
    go_on.set()
    assert await patient.decide(A, packed(_held[-1]), context()) == 1


_held: list[Any] = []


def _hold(value: Any) -> int:
    if value not in _held:
        _held.append(value)
    return _held.index(value)


def _hand_over(index: int) -> Any:
    return _held[index]


async def test_a_question_after_one_that_nobody_waits_for(policies: CustomPolicies):
    """A decision works after a cancelled decision, as a redeploy causes it."""
    began, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    class Slow:
        def __reduce__(self) -> Any:
            return (_hand_over, (_hold(self),))

        async def __call__(self, context: AutoscalingContext) -> float:
            loop.call_soon_threadsafe(began.set)
            if context.total_num_requests > 5:
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(go_on.wait(), loop))
            return context.total_num_requests

    policy = packed(Slow())
    first = asyncio.create_task(policies.decide(A, policy, context(asked=6.0)))
    await began.wait()
    first.cancel()
    second = asyncio.create_task(policies.decide(A, policy, context(asked=3.0)))
    loop.call_later(0.05, go_on.set)
    assert await second == 3.0


async def test_an_async_one_that_hangs_is_cancelled(cluster: LocalCluster):
    """A policy that awaits without end is cancelled, and can decide again at once."""
    patient, policies = made(cluster), made(cluster, limit_s=0.2)
    await patient.decide(C, packed(lambda context: 1), context(C))  # one process for both of them

    async def hangs(context: AutoscalingContext) -> float:
        if context.total_num_requests > 5:
            await asyncio.Event().wait()
        return 2.0

    policy = packed(hangs)
    with pytest.raises(PolicyFailure, match=r"within 0\.2 s"):
        await policies.decide(A, policy, context(asked=6.0))
    assert await patient.decide(A, policy, context(asked=1.0)) == 2.0


async def test_the_process_is_found_again(cluster: LocalCluster):
    """A restarted controller adopts the process with the state of its policies."""

    def counts(context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        count = context.policy_state.get("count", 0) + 1
        return count, {"count": count}

    policy = packed(counts)
    assert await made(cluster).decide(A, policy, context()) == 1
    successor = made(cluster)
    assert await successor.decide(A, policy, context()) == 2
    assert len(await cluster.list_actors(PREFIX)) == 1


async def test_nothing_is_left(cluster: LocalCluster):
    """The process ends with its last policy; an unused process is found and ended."""
    policies = made(cluster)
    for who in (A, B):
        await policies.decide(who, packed(lambda context: 1), context(who))
    await policies.forget(A)
    assert len(await cluster.list_actors(PREFIX)) == 1
    await policies.forget(B)
    assert await cluster.list_actors(PREFIX) == []
    await policies.decide(A, packed(lambda context: 1), context())
    await made(cluster).end_orphans()
    assert await cluster.list_actors(PREFIX) == []


class DyingActor:
    """A policy process that a policy kills."""

    def __init__(self, name: str, cluster: DyingCluster) -> None:
        self.name = name
        self._cluster = cluster
        self._dead = asyncio.Event()

    async def call(self, method: str, *args: Any) -> Any:
        if method != "decide":
            return None
        if self._dead.is_set():
            raise ActorDied("gone")
        deployment = args[0]
        self._cluster.asked.append(deployment)
        if deployment == A and self._cluster.a_kills:
            await asyncio.sleep(0.01)
            self._dead.set()
        if deployment != A and self._cluster.a_kills and not self._cluster.alone(deployment):
            await self._dead.wait()
        if self._dead.is_set():
            raise ActorDied("killed by os._exit")
        return PolicyResult(float(len(deployment.name)))

    async def wait_closed(self) -> str:
        await self._dead.wait()
        return "gone"

    def kill(self) -> None:
        self._dead.set()


class DyingCluster:
    def __init__(self) -> None:
        self.asked: list[DeploymentId] = []
        self.started = 0
        self.a_kills = True
        self.seen: set[DeploymentId] = set()

    def alone(self, deployment: DeploymentId) -> bool:
        """Return False for a first decision, which runs beside A, True for later ones."""
        first = deployment not in self.seen
        self.seen.add(deployment)
        return not first

    async def start_actor(self, spec: ActorSpec) -> DyingActor:
        self.started += 1
        return DyingActor(spec.name, self)

    async def list_actors(self, prefix: str) -> list[str]:
        return []


async def test_who_ends_the_process_is_found_out():
    """After the death of the process, its suspects run alone, and the others decide."""
    cluster: Any = DyingCluster()
    policies = CustomPolicies(HelperActors(cluster, PREFIX, ()))
    policy = packed(lambda context: 1)
    results = await asyncio.gather(
        *(policies.decide(who, policy, context(who)) for who in (A, B, C)), return_exceptions=True
    )
    assert results[1:] == [1.0, 1.0]
    assert isinstance(results[0], PolicyFailure)
    assert "ended during the decision: killed by os._exit" in str(results[0])
    assert cluster.started >= 2
    cluster.a_kills = False
    assert await policies.decide(A, policy, context()) == 1.0


async def test_a_process_that_does_not_start_is_told():
    """An error of the cluster is the failure of the policy."""

    class Full:
        async def list_actors(self, prefix: str) -> list[str]:
            return []

        async def start_actor(self, spec: ActorSpec) -> Any:
            raise ActorDied("no room for it")

    cluster: Any = Full()
    with pytest.raises(PolicyFailure, match="did not start: no room for it"):
        await CustomPolicies(HelperActors(cluster, PREFIX, ())).decide(A, packed(len), context())


class Slow:
    """A process that takes seconds for each call, and does not know the policy yet."""

    def __init__(self, seconds: float) -> None:
        self.name = f"{PREFIX}slow"
        self.seconds = seconds
        self.calls: list[str] = []
        self.is_killed = False

    async def call(self, method: str, *args: Any) -> Any:
        self.calls.append(method)
        await asyncio.sleep(self.seconds)
        return PolicyResult(3.0, is_unknown="add" not in self.calls)

    def stub(self, protocol: Any) -> Any:
        actor: Any = self
        return stub(protocol, actor)

    def kill(self) -> None:
        self.is_killed = True


@pytest.mark.parametrize("seconds", [3.0, 4.0])
def test_to_hand_a_policy_over_takes_no_patience_of_its_own(
    run: Any, monkeypatch: pytest.MonkeyPatch, seconds: float
):
    """The timeout covers all calls of a decision, `add` included: the limit and 5 s."""

    async def main() -> None:
        slow = Slow(seconds)

        async def adopted() -> Any:
            return slow

        asked: Any = made(LocalCluster(), limit_s=5.0)
        monkeypatch.setattr(asked, "_adopt", adopted)
        began = asyncio.get_running_loop().time()
        if seconds * 3 < 10:
            assert await asked.decide(A, CustomPolicy(UserCode("m:f", b""), {}), context()) == 3
            assert slow.calls == ["decide", "add", "decide"]
        else:
            with pytest.raises(PolicyFailure, match="not answered for 10 s"):
                await asked.decide(A, CustomPolicy(UserCode("m:f", b""), {}), context())
            assert asyncio.get_running_loop().time() - began == pytest.approx(10)
        assert slow.is_killed == (seconds * 3 >= 10)

    run(main)
