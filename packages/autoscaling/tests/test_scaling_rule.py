from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alacarte_autoscaling._scaling_rule import (
    Hysteresis,
    InvalidDecision,
    cold_start,
    next_step,
    parse_decision,
    within,
)
from alacarte_autoscaling.config import AutoscalingConfig


def config(**values: Any) -> AutoscalingConfig:
    return AutoscalingConfig(**{"min_replicas": 0, "max_replicas": 100, **values})


def at_once(wanted: float, target: int, running: int | None = None, **values: Any) -> int:
    """Return the number after one step without delays."""
    step = next_step(
        config(**{"upscale_delay_s": 0, "downscale_delay_s": 0, **values}),
        wanted,
        target=target,
        running=target if running is None else running,
        hysteresis=Hysteresis(),
        now=50.0,
    )
    return step.number


@pytest.mark.parametrize(
    ("wanted", "target", "number"),
    [(3.0, 3, 3), (3.1, 3, 4), (2.9, 3, 3), (2.0, 3, 2), (0.0, 3, 1), (0.0, 1, 0), (7.5, 2, 8),
     (3.0000000001, 3, 3), (500.0, 3, 100), (0.3, 1, 1)],
)  # fmt: skip
def test_without_factors_the_wish_is_rounded_up(wanted: float, target: int, number: int):
    """Fractions are rounded up; the last replica stops only after all others."""
    assert at_once(wanted, target) == number


@pytest.mark.parametrize(
    ("factor", "wanted", "target", "running", "number"),
    [(0.5, 9.0, 1, 1, 5), (0.5, 9.0, 5, 1, 5), (0.5, 9.0, 5, 5, 7), (0.1, 2.0, 1, 1, 2),
     (2.0, 3.0, 1, 1, 5), (0.5, 6.0, 5, 2, 5)],
)  # fmt: skip
def test_growth_is_multiplied(factor: float, wanted: float, target: int, running: int, number: int):
    """The factor applies to the growth from running replicas, and never lowers the target."""
    assert at_once(wanted, target, running, upscaling_factor=factor) == number


@pytest.mark.parametrize(
    ("factor", "wanted", "target", "number"),
    [(0.5, 2.0, 10, 6), (0.1, 9.0, 10, 9), (0.01, 1.0, 10, 9), (2.0, 5.0, 10, 1), (0.5, 0.0, 1, 0)],
)
def test_shrinkage_is_multiplied(factor: float, wanted: float, target: int, number: int):
    """A small factor removes at least one replica per step."""
    assert at_once(wanted, target, downscaling_factor=factor) == number


def test_from_none_there_is_no_delay_and_no_factor():
    """A decision for a deployment with no replicas applies at once, without factors."""
    slow = config(upscale_delay_s=30, upscaling_factor=0.1)
    step = next_step(slow, 4.0, target=0, running=0, hysteresis=Hysteresis(), now=0.0)
    assert step.number == 4


@pytest.mark.parametrize(("factor", "target", "number"), [(None, 0, 1), (3.0, 0, 3), (3.0, 5, 5)])
def test_the_first_request_starts_the_first_replica(factor: float, target: int, number: int):
    """A cold start has one replica, or as many as the factor."""
    assert cold_start(config(upscaling_factor=factor), target) == number
    assert cold_start(config(upscaling_factor=factor, max_replicas=2, min_replicas=1), 0) <= 2


def run(settings: AutoscalingConfig, wishes: list[tuple[float, float]], target: int) -> int:
    """Return the number after decisions at times."""
    hysteresis = Hysteresis()
    for now, wanted in wishes:
        step = next_step(
            settings, wanted, target=target, running=target, hysteresis=hysteresis, now=now
        )
        target, hysteresis = step.number, step.hysteresis
    return target


def test_delays_are_waited_for():
    """Growth takes 30 s, shrinkage 600 s, and shrinkage to zero its own delay."""
    plain = config(downscale_to_zero_delay_s=60.0)
    assert run(plain, [(0, 5), (29.9, 5)], 1) == 1
    assert run(plain, [(0, 5), (29.9, 5), (30, 5)], 1) == 5
    assert run(plain, [(0, 1), (599, 1)], 5) == 5
    assert run(plain, [(0, 1), (599, 1), (600, 1)], 5) == 1
    assert run(plain, [(0, 0), (59, 0)], 1) == 1
    assert run(plain, [(0, 0), (59, 0), (60, 0)], 1) == 0
    assert run(plain, [(0, 0), (600, 0), (601, 0), (660, 0)], 5) == 1
    assert run(plain, [(0, 0), (600, 0), (601, 0), (661, 0)], 5) == 0


def test_an_interruption_begins_the_delay_anew():
    """A decision that lapses or reverses restarts the delay."""
    plain = config()
    assert run(plain, [(0, 5), (29, 1), (30, 5), (59, 5)], 1) == 1
    assert run(plain, [(0, 5), (29, 1), (30, 5), (60, 5)], 1) == 5
    assert run(plain, [(0, 5), (10, 1), (20, 5), (30, 5)], 2) == 2


def test_what_is_due_is_told():
    """A step has the time at which its decision is due."""
    step = next_step(config(), 5.0, target=1, running=1, hysteresis=Hysteresis(), now=7.0)
    assert (step.number, step.due) == (1, 37.0)
    assert (
        next_step(config(), 1.0, target=1, running=1, hysteresis=Hysteresis(), now=7.0).due is None
    )


@settings(max_examples=400)
@given(
    wanted=st.floats(0, 1000),
    target=st.integers(0, 30),
    running=st.integers(0, 30),
    low=st.integers(0, 10),
    more=st.integers(1, 20),
    up=st.floats(0.01, 5),
    down=st.floats(0.01, 5),
)
def test_it_moves_towards_the_wish_and_stays_in_bounds(
    wanted: float, target: int, running: int, low: int, more: int, up: float, down: float
):
    """Steps stay within bounds, never move in the wrong direction, and reach the decision."""
    limits = config(
        min_replicas=low,
        max_replicas=low + more,
        upscaling_factor=up,
        downscaling_factor=down,
        upscale_delay_s=0,
        downscale_delay_s=0,
    )
    target = within(limits, target)
    step = next_step(
        limits, wanted, target=target, running=running, hysteresis=Hysteresis(), now=1.0
    )
    assert low <= step.number <= low + more
    wish = within(limits, math.ceil(wanted - 1e-9))
    if wish > target:
        assert step.number >= target
        assert step.number > target or running < target
    elif wish < target:
        assert step.number < target
    else:
        assert step.number == target or math.ceil(wanted) != wish


@settings(max_examples=100)
@given(
    wanted=st.floats(0, 40),
    begin=st.integers(0, 40),
    up=st.floats(0.05, 1),
    down=st.floats(0.05, 1),
)
def test_a_constant_wish_is_reached_and_kept(wanted: float, begin: int, up: float, down: float):
    """With factors up to one, a constant decision is reached without overshooting, and kept."""
    limits = config(upscaling_factor=up, downscaling_factor=down, upscale_delay_s=0,
                    downscale_delay_s=0)  # fmt: skip
    target, wish = begin, math.ceil(wanted - 1e-9)
    seen = [target]
    for now in range(200):
        step = next_step(
            limits, wanted, target=target, running=target, hysteresis=Hysteresis(), now=float(now)
        )
        target = step.number
        seen.append(target)
    assert seen[-1] == wish
    assert sorted(seen, reverse=begin > wish) == seen


@pytest.mark.parametrize(
    ("answer", "number", "state"),
    [(3, 3.0, None), (2.5, 2.5, None), ((4, {"a": 1}), 4.0, {"a": 1}), (Fraction(5, 2), 2.5, None),
     (0, 0.0, None), ((0.0, {}), 0.0, {})],
)  # fmt: skip
def test_answers_are_numbers(answer: Any, number: float, state: Any):
    """A decision is any kind of number, with or without a state."""
    assert parse_decision(answer) == (number, state)


@pytest.mark.parametrize(
    "answer",
    [None, "3", math.nan, math.inf, -1, -0.5, 10**9, True, [3], (3,), (3, 4), (3, None), ("3", {}),
     1 + 2j, {"number": 3}, object()],
    ids=lambda answer: re.sub(" at 0x.*", "", repr(answer)),
)  # fmt: skip
def test_nonsense_is_refused(answer: Any):
    """The error for an invalid decision shows the decision."""
    with pytest.raises(InvalidDecision, match="it returned"):
        parse_decision(answer)
