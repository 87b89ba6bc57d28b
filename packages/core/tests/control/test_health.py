"""The health of a replica, by table and by property."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alacarte._control.health import (
    MAX_FAILED_CHECKS,
    Health,
    after_failure,
    after_success,
    judge,
    next_check_s,
    out_of_rotation,
)
from alacarte.actors import Liveness


@given(st.lists(st.booleans(), max_size=30))
def test_it_is_unfit_after_so_many_failures_in_a_row(checks: list[bool]):
    """Only consecutive failures count; one success resets them."""
    health = Health()
    for good in checks:
        health = after_success(health) if good else after_failure(health, "it hurts")
    in_a_row = 0
    for good in checks:
        in_a_row = 0 if good else in_a_row + 1
    assert health.is_healthy is (in_a_row < MAX_FAILED_CHECKS)
    assert health.is_degraded is (in_a_row >= 2)
    assert health.message == ("it hurts" if in_a_row else "")


def test_one_that_fails_every_other_check_is_left_alone():
    """Flapping neither rests nor replaces a replica."""
    health = Health()
    for _ in range(100):
        health = after_failure(after_success(health), "now and then")
        assert health.is_healthy
        assert not health.is_degraded


@given(st.lists(st.booleans(), max_size=20))
def test_never_more_than_half_rest(is_degraded: list[bool]):
    """At most half of the replicas are out of rotation, and only degraded ones."""
    rest = out_of_rotation(is_degraded)
    assert sum(rest) * 2 <= len(rest)
    assert rest in (is_degraded, [False] * len(is_degraded))
    if sum(is_degraded) * 2 <= len(is_degraded):
        assert rest == is_degraded


@pytest.mark.parametrize(
    ("liveness", "said"),
    [
        (Liveness(0.1, 5, 0, 5), ""),
        (Liveness(31.0, 1, 0, 5), "event loop has been blocked for 31 s"),
        (Liveness(0.1, 0, 5, 5), "all its 5 threads"),
        (Liveness(0.1, 1, 4, 5), ""),
    ],
)
def test_liveness_is_judged(liveness: Liveness, said: str):
    """A blocked loop and exhausted threads are problems; a busy replica has none."""
    wrong = judge(liveness, 30.0)
    assert said in wrong
    assert bool(wrong) is bool(said)


@pytest.mark.parametrize(
    ("period_s", "elapsed_s", "pause_s"), [(10.0, 0.1, 9.9), (1.0, 1.0, 0.0), (1.0, 30.0, 0.0)]
)
def test_periods_run_from_start_to_start(period_s: float, elapsed_s: float, pause_s: float):
    """A check's duration is part of its period; the next check follows a longer one at once."""
    assert next_check_s(period_s, elapsed_s) == pytest.approx(pause_s)
