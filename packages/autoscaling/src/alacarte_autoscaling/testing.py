"""Conformance check of plugins' autoscaling policies."""

from __future__ import annotations

import inspect
import math
import random
import time

from alacarte.types import DeploymentId

from .config import AutoscalingConfig
from .scaling import parse_decision
from .types import AutoscalingContext, ScalingPolicy, ScalingPolicyFactory

__all__ = ["check_autoscaling_policy"]

_MAX_DECIDE_S = 0.01


def check_autoscaling_policy(
    factory: ScalingPolicyFactory, *, contexts: int = 1000, seed: int = 0
) -> None:
    """Check the conformance of an autoscaling policy to `ScalingPolicy`.

    The factory must create a new policy for each deployment without arguments. The policy must be
    synchronous and quick, and return a valid number of replicas for every context.

    Args:
        factory: A factory from `register_autoscaling_policies`.
        contexts: Number of random contexts.
        seed: Seed of the contexts, which failures show.

    Raises:
        AssertionError: The policy violates the contract; the message describes the violation.
    """
    name = factory.name
    assert not set(".:") & set(name), f"{name!r}: '.' and ':' are reserved for import paths"
    period_s = factory.period_s
    assert period_s is None or period_s > 0, f"{name}: period_s={period_s!r} must be positive"
    policy, other = factory.create({}), factory.create({})
    assert policy is not other, f"{name}: the factory must create a new policy for each deployment"
    decide = getattr(policy, "decide", None)
    assert callable(decide), f"{name}: the policy has no method decide"
    assert not inspect.iscoroutinefunction(decide), f"{name}: decide must not be async"
    rng = random.Random(seed)
    for _ in range(contexts):
        context = _context(rng)
        try:
            parse_decision(policy.decide(context))
        except Exception as error:  # any error of the policy is a violation
            raise AssertionError(f"{name}: {error!r} for {context}; {seed=}") from error
    _check_speed(name, policy, rng)


def _check_speed(name: str, policy: ScalingPolicy, rng: random.Random) -> None:
    best = math.inf
    for _ in range(20):
        context = _context(rng)
        began = time.perf_counter()
        policy.decide(context)
        # The minimum excludes the other load of the machine.
        best = min(best, time.perf_counter() - began)
    assert best < _MAX_DECIDE_S, f"{name}: a decision takes {best:.3f} s; the controller waits"


def _context(rng: random.Random) -> AutoscalingContext:
    low = rng.randint(0, 3)
    high = rng.randint(max(low, 1), 50)
    config = AutoscalingConfig.model_validate(
        {
            "min_replicas": low,
            "max_replicas": high,
            "target_ongoing_requests": rng.choice((0.5, 1, 2, 100)),
        }
    )
    target = rng.randint(low, high)
    queued, running = rng.choice((0, rng.randint(0, 500))), rng.choice((0, rng.randint(0, 500)))
    return AutoscalingContext(
        DeploymentId("check", "Policy"),
        "Policy",
        "check",
        rng.randint(0, target),
        target,
        rng.choice((0.0, float(queued + running), rng.random() * 1000)),
        queued,
        running,
        low,
        high,
        config,
        rng.random() * 2e9,
        rng.choice((None, rng.random() * 2e9)),
        rng.choice((None, rng.random() * 2e9)),
    )
