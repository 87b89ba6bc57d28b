from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alacarte.actors import FORGET_S
from alacarte.types import DeploymentId
from alacarte_autoscaling._load_history import LoadHistory
from alacarte_autoscaling._load_reports import LoadReport

WHO = DeploymentId("app", "D")


def told(asked: int, over_s: float = 0.0, mean: float | None = None, **others: int) -> LoadReport:
    values = {"high": asked, "low": asked, **others}
    return LoadReport(WHO, asked, 0, asked if mean is None else mean, over_s=over_s, **values)


class Caller:
    """A process with a load, which reports as routers do."""

    def __init__(self, name: str, history: LoadHistory, now: float) -> None:
        self.name, self.history = name, history
        self.asked, self.reported_at = 0, now
        self.steps: list[tuple[float, int]] = [(now, 0)]

    def ask(self, asked: int, now: float) -> None:
        self.asked = asked
        self.steps.append((now, asked))

    def report(self, now: float) -> None:
        before = [asked for at, asked in self.steps if at <= self.reported_at][-1]
        moments = [(self.reported_at, before)]
        moments += [step for step in self.steps if step[0] > self.reported_at]
        ends = [at for at, _ in moments[1:]] + [now]
        over = now - self.reported_at
        area = sum(asked * (end - at) for (at, asked), end in zip(moments, ends, strict=True))
        values = [asked for _, asked in moments]
        self.history.add(
            self.name,
            LoadReport(
                WHO,
                0,
                self.asked,
                area / over if over else self.asked,
                max(values),
                min(values),
                over,
            ),
            now,
        )
        self.reported_at = now


def truth(callers: list[Caller], start: float, now: float) -> tuple[float, int, int]:
    """Return mean, maximum and minimum of the sum, from every single step."""
    moments = sorted(
        {at for caller in callers for at, _ in caller.steps if at > start} | {start, now}
    )
    area, values = 0.0, []
    for at, end in itertools.pairwise(moments):
        asked = sum([n for t, n in caller.steps if t <= at][-1] for caller in callers)
        area += asked * (end - at)
        values.append(asked)
    return area / (now - start), max(values), min(values)


@settings(max_examples=150)
@given(
    seed=st.integers(0, 10**9), processes=st.integers(1, 4), look_back=st.sampled_from([1, 5, 30])
)
def test_the_mean_is_that_of_all_steps(seed: int, processes: int, look_back: int):
    """However callers and reports interleave, the mean is what was asked, weighted by time.

    The window's oldest piece counts with its own mean, so the edge may be off by that piece.
    """
    rng = random.Random(seed)
    history = LoadHistory(look_back, 100.0)
    callers = [Caller(f"p{n}", history, 100.0) for n in range(processes)]
    now = 100.0
    for _ in range(60):
        now += rng.uniform(0, look_back / 10)
        caller = rng.choice(callers)
        caller.ask(rng.randint(0, 20), now)
        if rng.random() < 0.7:
            now += rng.uniform(0, look_back / 50)
            caller.report(now)
    now += 0.01
    for caller in callers:
        caller.report(now)
    start = max(100.0, now - look_back)
    mean, high, low = truth(callers, start, now)
    slack = 20 * processes * (look_back / 60 + look_back / 10 + look_back / 50) / (now - start)
    assert history.load("mean", now) == pytest.approx(mean, abs=slack)
    assert history.load("max", now) >= high - 1e-6
    assert history.load("min", now) <= low + 1e-6


def test_one_process_exactly():
    """For a process that reports each change, all aggregates are exact."""
    history = LoadHistory(10.0, 0.0)
    history.add("p", told(6), 0.0)
    history.add("p", told(2, over_s=4.0, mean=6.0, high=6, low=6), 4.0)
    assert history.load("mean", 8.0) == pytest.approx((6 * 4 + 2 * 4) / 8)
    assert (history.load("max", 8.0), history.load("min", 8.0)) == (6, 2)
    # At 13 the window holds one second of the six.
    assert history.load("mean", 13.0) == pytest.approx((6 + 2 * 9) / 10)


def test_a_load_between_two_reports_counts():
    """A spike between two reports appears in the mean and the maximum."""
    history = LoadHistory(10.0, 0.0)
    history.add("p", told(0), 0.0)
    history.add("p", told(0, over_s=2.0, mean=5.0, high=40, low=0), 2.0)
    assert history.load("mean", 10.0) == pytest.approx(1.0)
    assert history.load("max", 10.0) == 40
    assert history.queued == 0


def test_no_load_comes_down_to_exactly_zero():
    """After the last request has left the window, no rounding error remains."""
    history = LoadHistory(3.0, 0.0)
    now = 0.0
    for step in range(1000):
        now = step * 0.1
        history.add("p", told(step % 7, over_s=0.1, mean=step % 5 / 3, high=9, low=0), now)
    history.add("p", told(0, over_s=0.1, mean=0.1, high=1, low=0), now)
    assert history.load("mean", now + 2.9) > 0
    assert history.load("mean", now + 3.0) == 0.0
    assert history.steady(now + 3.0)
    assert history.next_change(now + 3.0) is None


def test_a_constant_load_rests():
    """With unchanged reports, the next change is the timeout of a silent process."""
    history = LoadHistory(10.0, 0.0)
    for second in range(0, 40, 5):
        history.add("p", told(4, over_s=5.0), float(second))
    assert history.steady(35.0)
    assert history.next_change(35.0) == 35.0 + FORGET_S


def test_a_process_that_is_gone_is_forgotten():
    """A process that is silent for fifteen seconds has no load; its past load leaves the window."""
    history = LoadHistory(10.0, 0.0)
    history.add("p", told(8), 0.0)
    assert history.next_change(9.99) == pytest.approx(10.0)
    assert history.load("mean", 14.9) == 8
    assert history.load("mean", 15.0) == 8
    assert history.queued == 0
    assert history.load("mean", 20.0) == pytest.approx(4.0)
    assert history.load("mean", 25.0) == 0.0
    assert history.next_change(25.0) is None


def test_processes_add_up():
    """The load is the sum of all processes; a new process had no load before."""
    history = LoadHistory(10.0, 0.0)
    history.add("a", told(4), 0.0)
    history.add("b", told(6), 5.0)
    assert history.load("mean", 10.0) == pytest.approx(4 + 3)
    assert (history.load("max", 10.0), history.load("min", 10.0)) == (10, 4)
    assert history.queued == 10


def test_a_lost_report_is_bridged():
    """Where a report was lost, the previous load of the process counts."""
    history = LoadHistory(100.0, 0.0)
    history.add("p", told(4), 0.0)
    history.add("p", told(8, over_s=2.0, mean=8.0), 10.0)
    assert history.load("mean", 10.0) == pytest.approx((4 * 8 + 8 * 2) / 10)


def test_memory_is_bounded():
    """Ten reports a second for twenty minutes take few pieces."""
    history = LoadHistory(600.0, 0.0)
    for step in range(12_000):
        history.add("p", told(step % 3, over_s=0.1), step * 0.1)
        history.add(f"short {step % 50}", told(0, over_s=0.1), step * 0.1)
    [caller] = [c for name, c in history._callers.items() if name == "p"]
    history.load("mean", 1200.0)
    assert len(caller.pieces) <= 70
    history.load("mean", 10_000.0)
    assert history._callers.keys() <= {"p"}


def test_looking_back_less_or_more():
    """A changed look-back period takes effect at once, and the load settles after it."""
    history = LoadHistory(100.0, 0.0)
    history.add("p", told(10), 0.0)
    history.add("p", told(0, over_s=10.0, mean=10.0, high=10, low=10), 10.0)
    assert history.load("mean", 20.0) == pytest.approx(5.0)
    history.look_back(5.0, 20.0)
    assert history.load("mean", 20.0) == 0.0
    assert not history.steady(20.0)
