"""The conformance kit for autoscaling policies that a plugin gives."""

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

_QUICK_S = 0.01


def check_autoscaling_policy(
    factory: ScalingPolicyFactory, *, contexts: int = 1000, seed: int = 0
) -> None:
    """Check that an autoscaling policy keeps the contract of `ScalingPolicy`.

    It makes a policy for each deployment, without arguments; that is synchronous and quick, and
    answers every context with a number of replicas.

    Args:
        factory: What `register_autoscaling_policies` returns.
        contexts: How many to ask it about.
        seed: Of their values. A failure names it.

    Raises:
        AssertionError: The policy breaks the contract; the message says how.
    """
    name = factory.name
    assert not set(".:") & set(name), f"{name!r}: '.' and ':' are for import paths"
    period = factory.period_s
    assert period is None or period > 0, f"{name}: period_s={period!r} is no time"
    policy, other = factory.create({}), factory.create({})
    assert policy is not other, f"{name}: each deployment needs a policy of its own"
    decide = getattr(policy, "decide", None)
    assert callable(decide), f"{name}: the policy has no method decide"
    assert not inspect.iscoroutinefunction(decide), f"{name}: decide must not be async"
    rng = random.Random(seed)
    for _ in range(contexts):
        context = _context(rng)
        try:
            parse_decision(policy.decide(context))
        except Exception as error:  # whatever it raises is the finding
            raise AssertionError(
                f"{name}: {error!r}, when asked about {context}; {seed=}"
            ) from error
    _check_speed(name, policy, rng)


def _check_speed(name: str, policy: ScalingPolicy, rng: random.Random) -> None:
    best = math.inf
    for _ in range(20):
        context = _context(rng)
        began = time.perf_counter()
        policy.decide(context)
        # The best of them: whatever else the machine did, the policy itself took no longer.
        best = min(best, time.perf_counter() - began)
    assert best < _QUICK_S, f"{name}: an answer takes {best:.3f} s, and the controller waits"


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
