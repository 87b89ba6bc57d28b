"""Rules from a policy's decision to a number of replicas: factors, bounds, delays. Pure.

The rules are Ray Serve's, with one difference: growth starts from the running replicas, but never
ends below the current target, so that the death of a replica does not scale down.
"""

from __future__ import annotations

import math
import reprlib
from dataclasses import dataclass
from numbers import Real

from .config import AutoscalingConfig

__all__ = [
    "Hysteresis",
    "InvalidDecision",
    "Step",
    "cold_start",
    "next_step",
    "within",
    "parse_decision",
]

MAX_DECISION = 1_000_000
"""Maximum number of replicas in a valid decision."""
SETTLE_S = 0.1
"""Time between a change and the next refresh."""
_TIMER_TOLERANCE_S = 1e-6
"""Timers may fire early by this time."""
_TOLERANCE = 1e-9
"""Rounding error of a number of replicas."""


class InvalidDecision(Exception):
    """A policy returned an invalid number of replicas."""


@dataclass(frozen=True)
class Hysteresis:
    """The direction of all recent decisions, and the time of the first of them."""

    direction: int = 0
    since: float = 0.0


@dataclass(frozen=True)
class Step:
    """The result of one decision.

    Attributes:
        number: Target number of replicas.
        hysteresis: Argument for the next step.
        due: Time of the next decision: a pending change is due then, or a further change may
            begin. None for no pending change.
    """

    number: int
    hysteresis: Hysteresis
    due: float | None = None


def within(config: AutoscalingConfig, number: int) -> int:
    """Return a number within the bounds."""
    return max(config.min_replicas, min(number, config.max_replicas))


def cold_start(config: AutoscalingConfig, target: int) -> int:
    """Return the number of replicas to start when none is running and requests are queued."""
    return within(config, max(target, _ceil(config.get_upscaling_factor())))


def parse_decision(value: object) -> tuple[float, dict[str, object] | None]:
    """Return the number of replicas in a policy's returned value, and the state or None.

    Raises:
        InvalidDecision: The value is not a valid number of replicas.
    """
    number: object = value
    state: dict[str, object] | None = None
    if isinstance(value, tuple):
        if len(value) != 2 or not isinstance(value[1], dict):
            raise InvalidDecision(
                f"it returned {reprlib.repr(value)}; it must return a number, or a tuple of a "
                "number and a dict"
            )
        number, state = value
    if isinstance(number, bool) or not isinstance(number, Real):
        raise InvalidDecision(f"it returned {reprlib.repr(number)}, which is not a number")
    decision = float(number)
    if not 0 <= decision <= MAX_DECISION:  # also refuses NaN
        raise InvalidDecision(
            f"it returned {number!r}; it must return a number from 0 to {MAX_DECISION}"
        )
    return decision, state


def next_step(
    config: AutoscalingConfig,
    decision: float,
    *,
    target: int,
    running: int,
    hysteresis: Hysteresis,
    now: float,
) -> Step:
    """Return the target number of replicas after a policy's decision.

    Args:
        target: The current target, within the bounds.
        running: Number of running replicas.
        hysteresis: Result of the previous step.
    """
    number = _apply_factors(config, decision, target, running)
    direction = (number > target) - (number < target)
    if not direction:
        return Step(target, Hysteresis())
    if direction != hysteresis.direction:
        hysteresis = Hysteresis(direction, now)
    due = hysteresis.since + _delay(config, target, direction)
    if now < due - _TIMER_TOLERANCE_S:
        return Step(target, hysteresis, due)
    # The delay of a further change, such as from one to zero, begins at the next refresh.
    return Step(number, Hysteresis(), now + SETTLE_S)


def _apply_factors(config: AutoscalingConfig, decision: float, target: int, running: int) -> int:
    """Return the number of replicas after factors and bounds."""
    if not target:
        return within(config, _ceil(decision))  # factors multiply a change from existing replicas
    number = target
    if _ceil(decision) > target:
        base = min(running, target) or target
        number = max(target, _ceil(base + config.get_upscaling_factor() * (decision - base)))
    elif _ceil(decision) < target:
        # At least one replica fewer, since a small factor always rounds up to the same number.
        shrunk = _ceil(target + config.get_downscaling_factor() * (decision - target))
        number = max(min(shrunk, target - 1), 0 if target == 1 else 1)
    return within(config, number)


def _delay(config: AutoscalingConfig, target: int, direction: int) -> float:
    if direction > 0:
        # Without a replica, waiting only delays the queued requests.
        return config.upscale_delay_s if target else 0.0
    to_zero = config.downscale_to_zero_delay_s
    return config.downscale_delay_s if target > 1 or to_zero is None else to_zero


def _ceil(number: float) -> int:
    return math.ceil(number - _TOLERANCE)
