"""The process of users' policies, called directly."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from alacarte._model.pickling import dump
from alacarte.testing import wait_until
from alacarte.types import DeploymentId, UserCode
from alacarte_autoscaling._policy_process import PolicyProcess
from alacarte_autoscaling._policy_protocol import CustomPolicy, PolicyResult
from alacarte_autoscaling.config import AutoscalingConfig
from alacarte_autoscaling.types import AutoscalingContext

A, B = DeploymentId("app", "A"), DeploymentId("app", "B")
LONG_S = 60.0


def context(who: DeploymentId = A) -> AutoscalingContext:
    config = AutoscalingConfig(max_replicas=10)
    return AutoscalingContext(who, who.name, who.app, 1, 1, 6.0, 0, 0, 1, 10, config, 1000.0)


def refuse(app: Any) -> DeploymentId:
    raise AssertionError(f"{app} is not bound here")


def packed(policy: Any, **kwargs: Any) -> CustomPolicy:
    return CustomPolicy(UserCode("m:f", dump(policy, refuse)), kwargs)


class Constant:
    def __init__(self, number: float) -> None:
        self.number = number

    def __call__(self, context: AutoscalingContext) -> float:
        return self.number


def counts(context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
    count = context.policy_state.get("count", 0) + 1
    return count, {"count": count}


def threads(who: DeploymentId) -> list[threading.Thread]:
    return [each for each in threading.enumerate() if f"policy-{who}" in each.name]


@pytest.fixture
async def process() -> AsyncIterator[PolicyProcess]:
    process = PolicyProcess(None)
    yield process
    await process.abort()


async def test_it_answers_only_for_the_policy_that_is_meant(process: PolicyProcess):
    """A call of an unknown version, or after a restart, returns `is_unknown`."""
    policy, other = packed(Constant, number=3), packed(Constant, number=4)
    assert policy.digest != other.digest
    unknown = PolicyResult(is_unknown=True)
    assert await process.decide(A, policy.digest, context(), LONG_S) == unknown
    await process.add(A, policy)
    assert await process.decide(A, policy.digest, context(), LONG_S) == PolicyResult(3.0)
    assert await process.decide(A, other.digest, context(), LONG_S) == unknown
    assert await process.decide(B, policy.digest, context(B), LONG_S) == unknown


async def test_the_same_policy_again_keeps_its_state(process: PolicyProcess):
    """Adding the same policy again keeps its state; another policy starts without state."""
    policy, other = packed(counts), packed(counts, unused=1)
    await process.add(A, policy)
    assert await process.decide(A, policy.digest, context(), LONG_S) == PolicyResult(1.0)
    await process.add(A, packed(counts))
    assert await process.decide(A, policy.digest, context(), LONG_S) == PolicyResult(2.0)
    await process.add(A, other)
    assert await process.decide(A, other.digest, context(), LONG_S) == PolicyResult(1.0)


async def test_deployments_do_not_share_state(process: PolicyProcess):
    """Policies with equal code have separate state and separate threads."""
    policy = packed(counts)
    for who in (A, B):
        await process.add(who, policy)
    asked = [await process.decide(who, policy.digest, context(who), LONG_S) for who in (A, A, B)]
    assert [answer.decision for answer in asked] == [1.0, 2.0, 1.0]
    assert (len(threads(A)), len(threads(B))) == (1, 1)


async def test_to_forget_ends_the_thread(process: PolicyProcess):
    """A removed deployment leaves no thread; removing an unknown deployment is ignored."""
    policy = packed(Constant, number=3)
    await process.add(A, policy)
    await process.decide(A, policy.digest, context(), LONG_S)
    [thread] = threads(A)
    await process.forget(A)
    wait_until(lambda: not thread.is_alive(), timeout_s=20)
    await process.forget(A)
    answer = await process.decide(A, policy.digest, context(), LONG_S)
    assert answer.is_unknown


async def test_a_failed_answer_keeps_the_state(process: PolicyProcess):
    """An invalid decision keeps the policy's state."""

    def wavers(context: AutoscalingContext) -> Any:
        count = context.policy_state.get("count", 0) + 1
        if context.total_num_requests > 100:
            return "many"
        return count, {"count": count}

    policy = packed(wavers)
    await process.add(A, policy)
    assert await process.decide(A, policy.digest, context(), LONG_S) == PolicyResult(1.0)
    failed = await process.decide(A, policy.digest, _busy(), LONG_S)
    assert (failed.decision, failed.is_unknown) == (None, False)
    assert "it returned 'many'" in failed.failure
    assert await process.decide(A, policy.digest, context(), LONG_S) == PolicyResult(2.0)


async def test_one_that_cancels_itself(process: PolicyProcess):
    """A policy that cancels its own task fails, and can decide again."""

    async def cancels(context: AutoscalingContext) -> float:
        if context.total_num_requests > 100:
            raise asyncio.CancelledError
        return 2.0

    policy = packed(cancels)
    await process.add(A, policy)
    answer = await process.decide(A, policy.digest, _busy(), LONG_S)
    assert answer == PolicyResult(failure="it cancelled its own task")
    assert await process.decide(A, policy.digest, context(), LONG_S) == PolicyResult(2.0)


async def test_one_that_fails_to_load_is_loaded_again(process: PolicyProcess):
    """A policy that failed to load is loaded again with the next decision."""
    policy = packed(_Moody)
    await process.add(A, policy)
    _Moody.fails = True
    answer = await process.decide(A, policy.digest, context(), LONG_S)
    assert "OSError" in answer.failure
    _Moody.fails = False
    assert await process.decide(A, policy.digest, context(), LONG_S) == PolicyResult(1.0)


async def test_the_end_of_the_process_leaves_no_thread():
    """The end of the process stops every policy that does not block."""
    process = PolicyProcess(None)
    policy = packed(Constant, number=3)
    for who in (A, B):
        await process.add(who, policy)
        await process.decide(who, policy.digest, context(who), LONG_S)
    left = [*threads(A), *threads(B)]
    assert len(left) == 2
    await process.ping()
    await process.abort()
    wait_until(lambda: not any(thread.is_alive() for thread in left), timeout_s=20)


class _Moody:
    fails = False

    def __init__(self) -> None:
        if type(self).fails:
            raise OSError("not now")

    def __call__(self, context: AutoscalingContext) -> float:
        return 1.0


def _busy() -> AutoscalingContext:
    config = AutoscalingConfig(max_replicas=10)
    return AutoscalingContext(A, A.name, A.app, 1, 1, 500.0, 0, 0, 1, 10, config, 1000.0)
