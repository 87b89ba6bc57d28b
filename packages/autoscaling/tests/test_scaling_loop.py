from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import pytest

from alacarte.errors import ConfigError
from alacarte.testing import FakeClock
from alacarte.types import DeploymentId, UserCode
from alacarte_autoscaling._custom_policies import PolicyFailure
from alacarte_autoscaling._load_reports import LoadReport
from alacarte_autoscaling._scaling_loop import ScaledDeployment, ScalingLoop, check_policy
from alacarte_autoscaling.config import AutoscalingConfig
from alacarte_autoscaling.types import AutoscalingContext, ScalingPolicyFactory

WHO = DeploymentId("app", "D")


class ByLoad:
    """A stand-in for the policy `default`."""

    def __init__(self, **kwargs: Any) -> None:
        self.asked: list[float] = []

    def decide(self, context: AutoscalingContext) -> float:
        self.asked.append(context.current_time)
        return context.total_num_requests / context.config.target_ongoing_requests


class Custom:
    """A stand-in for the process of users' policies."""

    def __init__(self, answer: Callable[[AutoscalingContext], Any] | None = None) -> None:
        self.answer = answer
        self.asked = 0
        self.forgotten: list[DeploymentId] = []
        self.stopped = False

    async def decide(self, _: DeploymentId, policy: Any, context: AutoscalingContext) -> Any:
        self.asked += 1
        assert self.answer is not None
        answer = self.answer(context)
        return await answer if isinstance(answer, Coroutine) else answer

    async def forget(self, deployment: DeploymentId) -> None:
        self.forgotten.append(deployment)

    def stop(self) -> None:
        self.stopped = True


def spec(
    deployment: DeploymentId = WHO, code: bytes | None = None, **scaling: Any
) -> ScaledDeployment:
    config = AutoscalingConfig(**{"max_replicas": 10, **scaling})
    return ScaledDeployment(deployment, config, None if code is None else UserCode("m:f", code))


def told(queued: int, running: int = 0, deployment: DeploymentId = WHO) -> LoadReport:
    asked = queued + running
    return LoadReport(deployment, queued, running, asked, asked, asked, 0.0)


class World:
    """A scaler whose counts are applied at once."""

    def __init__(
        self, policies: Mapping[str, Any] | None = None, custom: Custom | None = None
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.policy = ByLoad()
        given = {"default": lambda kwargs: self.policy} if policies is None else policies
        factories = {
            name: factory if isinstance(factory, ScalingPolicyFactory)
            else ScalingPolicyFactory(name, factory)
            for name, factory in given.items()
        }  # fmt: skip
        self.custom = custom or Custom()
        self.numbers: list[tuple[float, int]] = []
        asks: Any = self.custom
        self.scaler = ScalingLoop(factories, self.changed, asks)
        self.began = self.loop.time()

    def changed(self, deployment: DeploymentId, number: int) -> None:
        self.numbers.append((round(self.loop.time() - self.began, 1), number))
        self.loop.call_soon(self.scaler.running, deployment, number)

    def begin(self, number: int, **scaling: Any) -> None:
        self.scaler.follow(spec(**scaling), number)
        self.scaler.running(WHO, number)

    async def hold(self, seconds: float, *reports: LoadReport) -> None:
        """Keep a load for a while, reported every five seconds."""
        end = self.loop.time() + seconds
        while (left := end - self.loop.time()) > 1e-6:
            self.scaler.report("p", reports)
            await asyncio.sleep(min(5.0, left))


def on_fake_clock(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        FakeClock().run(test())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@on_fake_clock
async def test_a_burst_is_followed_after_the_delay():
    """A lasting load starts replicas after the delay, and their end has its own delay."""
    world = World()
    world.begin(1, look_back_period_s=2, upscale_delay_s=10, downscale_delay_s=60)
    await world.hold(30, told(0, 12))
    await world.hold(5, told(0))
    await asyncio.sleep(200)
    [(up, six), (down, one)] = world.numbers
    assert (six, one) == (6, 1)
    # Wanted from the first moment: before, nothing is known of the load.
    assert 10.0 <= up <= 10.2
    # Fewer are wanted as soon as the mean has fallen below that of six.
    assert 90.0 <= down <= 92.1
    world.scaler.stop()


@on_fake_clock
async def test_what_rests_is_not_looked_at():
    """With a constant load, or none, no policy is called and no timer runs."""
    world = World()
    world.begin(2, look_back_period_s=1)
    await world.hold(3, told(0, 4))
    asked = len(world.policy.asked)
    await world.hold(100, told(0, 4))
    # Every 5 s, when the load is told again.
    assert len(world.policy.asked) - asked <= 21
    world.scaler.report("p", (told(0),))
    await asyncio.sleep(700)
    assert [number for _, number in world.numbers] == [1]
    asked = len(world.policy.asked)
    await asyncio.sleep(10_000)
    assert len(world.policy.asked) == asked
    world.scaler.stop()


@on_fake_clock
async def test_the_first_request_starts_a_replica_at_once():
    """A cold start scales from zero to one at once, without delay."""
    world = World()
    world.begin(0, min_replicas=0)
    await asyncio.sleep(100)
    for _ in range(3):
        world.scaler.report("p", (told(1),))
    assert world.numbers == [(100.0, 1)]
    world.scaler.stop()


@on_fake_clock
async def test_the_last_replica_has_its_own_delay():
    """The number falls to one after a delay, and to zero after the other delay."""
    world = World()
    world.begin(4, min_replicas=0, look_back_period_s=1, downscale_delay_s=10,
                downscale_to_zero_delay_s=50)  # fmt: skip
    await world.hold(20, told(0, 8))
    world.scaler.report("p", (told(0),))
    await asyncio.sleep(100)
    (first, one), (then, none) = world.numbers
    assert (one, none) == (1, 0)
    assert 30 <= first <= 31.1
    assert 50.0 <= then - first <= 50.3
    world.scaler.stop()


@on_fake_clock
async def test_many_reports_are_few_looks():
    """However often callers report, a policy is called at most ten times a second."""
    world = World()
    world.begin(1)
    for step in range(1000):
        world.scaler.report("p", (told(step % 5, 1),))
        await asyncio.sleep(0.01)
    assert 80 <= len(world.policy.asked) <= 110
    world.scaler.stop()


@on_fake_clock
async def test_a_policy_that_fails_is_named_and_asked_again():
    """A failed policy keeps its number, warns once, affects no other deployment, and recovers."""

    class Fails(ByLoad):
        answers: Any = ZeroDivisionError("no such luck")

        def decide(self, context: AutoscalingContext) -> Any:
            super().decide(context)
            if isinstance(self.answers, Exception):
                raise self.answers
            return self.answers

    broken = Fails()
    world = World({"default": lambda kwargs: ByLoad(), "broken": lambda kwargs: broken})
    other = DeploymentId("app", "Other")
    world.scaler.follow(spec(policy={"policy_function": "broken"}), 3)
    world.scaler.follow(spec(other, upscale_delay_s=0), 1)
    for deployment in (WHO, other):
        world.scaler.running(deployment, 3 if deployment == WHO else 1)
    reports = (told(0, 20), told(0, 20, other))
    await world.hold(100, *reports)
    assert "app#D: its autoscaling policy broken failed" in world.scaler.problems[WHO]
    assert "ZeroDivisionError: no such luck" in world.scaler.problems[WHO]
    assert other not in world.scaler.problems
    assert world.scaler.number(WHO) == 3
    assert world.scaler.number(other) == 10
    assert 5 <= len(broken.asked) <= 10  # at last every 30 s
    for nonsense in (math.nan, "five", -1, None, 10**12):
        broken.answers = nonsense
        await world.hold(31, *reports)
        assert "it returned" in world.scaler.problems[WHO]
        assert world.scaler.number(WHO) == 3
    broken.answers = 7
    await world.hold(100, *reports)
    assert world.scaler.problems == {}
    assert world.scaler.number(WHO) == 7
    world.scaler.stop()


CODE = b"a user's policy"
OWN = {"policy": {"policy_function": "mine:policy"}, "code": CODE}


@on_fake_clock
async def test_a_users_policy_is_asked_without_waiting():
    """A user's policy is called once a second, one call at a time, without blocking the loop."""

    async def think(context: AutoscalingContext) -> float:
        await asyncio.sleep(0.5)
        return 4.0

    world = World(custom=Custom(think))
    world.begin(1, upscale_delay_s=0, **OWN)
    await world.hold(10.2, told(0, 1))
    assert world.numbers == [(0.5, 4)]
    assert 6 <= world.custom.asked <= 15
    world.scaler.stop()
    await asyncio.sleep(1)
    assert world.custom.forgotten == [WHO]
    assert world.custom.stopped


@on_fake_clock
async def test_a_users_policy_may_fail():
    """A failing policy is called at growing intervals, and cold starts still work."""

    def fail(context: AutoscalingContext) -> float:
        raise PolicyFailure("it raised OSError: no queue")

    world = World(custom=Custom(fail))
    world.begin(0, min_replicas=0, **OWN)
    await asyncio.sleep(100)
    assert 5 <= world.custom.asked <= 10
    assert "mine:policy failed" in world.scaler.problems[WHO]
    assert "no queue" in world.scaler.problems[WHO]
    world.scaler.report("p", (told(2),))
    assert world.scaler.number(WHO) == 1
    world.scaler.stop()
    await asyncio.sleep(0)


@on_fake_clock
async def test_an_answer_to_what_is_gone_counts_for_nothing():
    """The decision of a replaced policy, or of a replaced deployment, is dropped."""

    async def think(context: AutoscalingContext) -> float:
        await asyncio.sleep(3)
        return 9.0

    world = World(custom=Custom(think))
    world.begin(1, upscale_delay_s=0, **OWN)
    await asyncio.sleep(1)
    world.scaler.follow(spec(upscale_delay_s=0), 1)
    await asyncio.sleep(10)
    world.scaler.follow(spec(upscale_delay_s=0, **OWN), 1)
    await asyncio.sleep(1)
    world.scaler.forget(WHO)
    await asyncio.sleep(10)
    assert world.numbers == []
    assert world.custom.forgotten == [WHO, WHO]


@on_fake_clock
async def test_a_new_configuration_holds_at_once():
    """New bounds apply at once, and the known load is kept."""
    world = World()
    world.begin(1, upscale_delay_s=0, look_back_period_s=1)
    await world.hold(10, told(0, 40))
    assert world.scaler.number(WHO) == 10
    world.scaler.follow(spec(max_replicas=4), 10)
    assert world.scaler.number(WHO) == 4
    world.scaler.follow(spec(max_replicas=40, upscale_delay_s=0), 4)
    await asyncio.sleep(0.2)
    assert world.scaler.number(WHO) == 20
    world.scaler.stop()


@on_fake_clock
async def test_a_new_controller_waits_until_it_knows_the_load():
    """After a restart, no number falls before every process has had time to report."""
    world = World()
    world.scaler.follow(spec(downscale_delay_s=0, look_back_period_s=1), 6, resumed=True)
    world.scaler.running(WHO, 6)
    await asyncio.sleep(4.9)
    await world.hold(30, told(0, 12))
    assert world.numbers == []
    world.scaler.report("p", (told(0),))
    await asyncio.sleep(5)
    assert world.scaler.number(WHO) == 1
    world.scaler.stop()


@on_fake_clock
async def test_a_policy_may_ask_to_be_asked():
    """A plugin's policy with a period is called under a constant load."""
    policy = ByLoad()
    factory = ScalingPolicyFactory("default", lambda kwargs: policy, period_s=10)
    world = World({"default": factory})
    world.begin(1)
    await asyncio.sleep(101)
    assert 10 <= len(policy.asked) <= 12
    world.scaler.stop()


@on_fake_clock
async def test_a_policys_state_comes_back():
    """The returned state of a policy is in its next context."""

    class Counts:
        def decide(self, context: AutoscalingContext) -> Any:
            count = context.policy_state.get("count", 0) + 1
            return count, {"count": count}

    factory = ScalingPolicyFactory("default", lambda kwargs: Counts(), period_s=1)
    world = World({"default": factory})
    world.begin(1, upscale_delay_s=0)
    await asyncio.sleep(4.5)
    assert world.scaler.number(WHO) in (5, 6, 7, 8, 9, 10)
    assert [number for _, number in world.numbers] == sorted(n for _, n in world.numbers)
    world.scaler.stop()


@on_fake_clock
async def test_a_policy_that_is_gone_keeps_nobody_else_from_scaling():
    """Without its plugin after a restart, a deployment reports the problem; others scale."""
    world = World({"default": lambda kwargs: ByLoad()})
    world.scaler.follow(spec(policy={"policy_function": "gone"}), 3)
    other = DeploymentId("app", "Other")
    world.scaler.follow(spec(other, upscale_delay_s=0), 1)
    world.scaler.running(other, 1)
    await world.hold(10, told(0, 8, other))
    assert (
        "no installed plugin registers the autoscaling policy 'gone'" in world.scaler.problems[WHO]
    )
    assert (world.scaler.number(WHO), world.scaler.number(other)) == (3, 4)
    world.scaler.stop()


@on_fake_clock
async def test_a_policy_stays_while_it_is_asked_for():
    """An unchanged policy keeps its state after a redeploy; another policy starts without state."""
    made: list[ByLoad] = []

    def make(kwargs: Any) -> ByLoad:
        made.append(ByLoad())
        return made[-1]

    world = World({"default": make})
    world.begin(1)
    world.begin(1, max_replicas=7)
    assert len(made) == 1
    world.begin(1, policy={"policy_function": "default", "policy_kwargs": {"speed": 3}})
    assert len(made) == 2
    world.scaler.stop()


def test_a_policy_that_no_plugin_gives_is_refused():
    """The error lists the known policies; arguments that a policy refuses are refused."""
    none: dict[str, ScalingPolicyFactory] = {}
    with pytest.raises(ConfigError, match=r"no installed plugin registers .* 'mine'; known: \[\]"):
        check_policy(spec(policy={"policy_function": "mine"}), none)
    check_policy(spec(code=b"a user's own needs none"), none)

    def picky(kwargs: Mapping[str, Any]) -> Any:
        raise TypeError("no such argument: speed")

    some = {"picky": ScalingPolicyFactory("picky", picky)}
    asked = {"policy_function": "picky", "policy_kwargs": {"speed": 3}}
    with pytest.raises(ConfigError, match="'picky' refuses .*speed.*no such argument"):
        check_policy(spec(policy=asked), some)


def test_a_failing_policy_is_logged_once(caplog: pytest.LogCaptureFixture):
    """One warning is logged when a policy starts to fail, for all its following failures."""

    async def main() -> None:
        def fail(context: AutoscalingContext) -> float:
            raise PolicyFailure(f"at {context.current_time}")

        world = World(custom=Custom(fail))
        world.begin(1, **OWN)
        await asyncio.sleep(300)
        world.scaler.stop()
        await asyncio.sleep(0)

    with caplog.at_level(logging.WARNING, "alacarte.controller"):
        FakeClock().run(main())
    assert len(caplog.records) == 1


@on_fake_clock
async def test_a_caller_that_died_while_nothing_came_up_is_forgotten():
    """The queued calls of a silent process count for fifteen seconds."""
    world = World()
    # What is wanted never runs: the cluster has no room for it, say.
    world.changed = lambda deployment, number: world.numbers.append((world.loop.time(), number))
    world.scaler = ScalingLoop(world.scaler._policies, world.changed, world.custom)
    world.scaler.follow(spec(min_replicas=0, downscale_delay_s=5, look_back_period_s=1), 0)
    world.scaler.running(WHO, 0)
    world.scaler.report("p", (told(1),))
    await asyncio.sleep(600)
    assert [number for _, number in world.numbers] == [1, 0]
    world.scaler.stop()
