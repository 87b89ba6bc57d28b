from __future__ import annotations

import time
from typing import Any

import pytest

from alacarte_autoscaling.testing import check_autoscaling_policy
from alacarte_autoscaling.types import AutoscalingContext, ScalingPolicyFactory


class Sound:
    def decide(self, context: AutoscalingContext) -> Any:
        return context.total_num_requests


class Nonsense(Sound):
    def decide(self, context: AutoscalingContext) -> Any:
        return None if context.total_queued_requests > 400 else 1


class Raises(Sound):
    def decide(self, context: AutoscalingContext) -> Any:
        return 1 / context.current_num_replicas


class Slow(Sound):
    def decide(self, context: AutoscalingContext) -> Any:
        end = time.perf_counter() + 0.011
        while time.perf_counter() < end:
            pass
        return 1


class Later(Sound):
    async def decide(self, context: AutoscalingContext) -> Any:
        return 1


class Nothing:
    pass


ONE = Sound()


def factory(make: Any, name: str = "mine", **others: Any) -> ScalingPolicyFactory:
    return ScalingPolicyFactory(name, lambda kwargs: make(), **others)


def test_a_sound_policy_passes():
    """A valid policy passes, with and without a period."""
    check_autoscaling_policy(factory(Sound), contexts=50)
    check_autoscaling_policy(factory(Sound, period_s=3), contexts=50)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (factory(Nonsense), "mine: .*it returned None.*seed=0"),
        (factory(Raises), "mine: ZeroDivisionError"),
        (factory(Slow), "the controller waits"),
        (factory(Later), "must not be async"),
        (factory(Nothing), "no method decide"),
        (factory(lambda: ONE), "a new policy for each deployment"),
        (factory(Sound, "a.b"), "import paths"),
        (factory(Sound, period_s=0), "period_s=0"),
    ],
)
def test_what_breaks_the_contract_is_found(given: ScalingPolicyFactory, told: str):
    """The error has the policy's name and the violation."""
    with pytest.raises(AssertionError, match=told):
        check_autoscaling_policy(given, contexts=200)
