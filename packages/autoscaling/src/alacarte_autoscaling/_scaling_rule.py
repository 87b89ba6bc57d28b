"""From a policy's decision to a number of replicas: factors, bounds, delays. Pure.

The rules are Ray Serve's, with one difference: growth is reckoned from the replicas that run and
never falls below what is wanted already, so that a replica that dies asks for no shrinkage.
"""

from __future__ import annotations

import math
import reprlib
from dataclasses import dataclass
from numbers import Real
from typing import Any

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

HUGE = 1_000_000
"""A decision for more replicas than this is invalid."""
SETTLE_S = 0.1
"""After a change, until the next refresh."""
_EARLY_S = 1e-6
"""Timers may go off this much too early."""
_SLIGHT = 1e-9
"""A fraction of a replica that comes from rounding sums."""


class InvalidDecision(Exception):
    """A policy's answer is no number of replicas."""


@dataclass(frozen=True)
class Hysteresis:
    """The direction that policies want to scale in, and since when without interruption."""

    direction: int = 0
    since: float = 0.0


@dataclass(frozen=True)
class Step:
    """The result of one decision.

    Attributes:
        number: Target number of replicas.
        hysteresis: To be given to the next step.
        due: When to ask again: a change that is wanted until then is due, or another may begin.
            None where there is nothing to wait for.
    """

    number: int
    hysteresis: Hysteresis
    due: float | None = None


def within(config: AutoscalingConfig, number: int) -> int:
    """Return a number within the bounds."""
    return max(config.min_replicas, min(number, config.max_replicas))


def cold_start(config: AutoscalingConfig, target: int) -> int:
    """Return the number of replicas to start when none runs and requests wait."""
    return within(config, max(target, _up(config.get_upscaling_factor())))


def parse_decision(answer: Any) -> tuple[float, dict[str, Any] | None]:
    """Return the number of a policy's answer, and its state if it gave one.

    Raises:
        InvalidDecision: It is no number of replicas.
    """
    number, state = answer, None
    if isinstance(answer, tuple):
        if len(answer) != 2 or not isinstance(answer[1], dict):
            raise InvalidDecision(
                f"it answered {reprlib.repr(answer)}, not a number, or (number, state as a dict)"
            )
        number, state = answer
    if isinstance(number, bool) or not isinstance(number, Real):
        raise InvalidDecision(f"it answered {reprlib.repr(number)}, not a number")
    found = float(number)
    if not 0 <= found <= HUGE:  # neither is NaN
        raise InvalidDecision(f"it answered {number!r}, which is no number of replicas")
    return found, state


def next_step(
    config: AutoscalingConfig,
    wanted: float,
    *,
    target: int,
    running: int,
    hysteresis: Hysteresis,
    now: float,
) -> Step:
    """Return the target number of replicas, where a policy wants `wanted`.

    Args:
        target: The target so far, within the bounds.
        running: Number of replicas that run.
        hysteresis: Of the last step.
    """
    number = _moved(config, wanted, target, running)
    direction = (number > target) - (number < target)
    if not direction:
        return Step(target, Hysteresis())
    if direction != hysteresis.direction:
        hysteresis = Hysteresis(direction, now)
    due = hysteresis.since + _delay(config, target, direction)
    if now < due - _EARLY_S:
        return Step(target, hysteresis, due)
    # The delay of a further change, such as from one to none, begins at the next refresh.
    return Step(number, Hysteresis(), now + SETTLE_S)


def _moved(config: AutoscalingConfig, wanted: float, target: int, running: int) -> int:
    """Return the number of replicas after factors and bounds."""
    if not target:
        return within(config, _up(wanted))  # there is nothing yet that a factor could apply to
    number = target
    if _up(wanted) > target:
        base = min(running, target) or target
        number = max(target, _up(base + config.get_upscaling_factor() * (wanted - base)))
    elif _up(wanted) < target:
        # At least one fewer, or a small factor would round up to the same number for ever.
        shrunk = _up(target + config.get_downscaling_factor() * (wanted - target))
        number = max(min(shrunk, target - 1), 0 if target == 1 else 1)
    return within(config, number)


def _delay(config: AutoscalingConfig, target: int, direction: int) -> float:
    if direction > 0:
        # Without a replica nothing is answered: there is nothing to wait for.
        return config.upscale_delay_s if target else 0.0
    to_zero = config.downscale_to_zero_delay_s
    return config.downscale_delay_s if target > 1 or to_zero is None else to_zero


def _up(number: float) -> int:
    return math.ceil(number - _SLIGHT)
