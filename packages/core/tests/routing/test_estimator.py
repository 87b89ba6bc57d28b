"""How fast a queue moves, on times that are given."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from alacarte._routing.estimator import QueueEstimator

TOOK_S = 0.05


def work(estimator: QueueEstimator, began: float, seconds: float, rate: float) -> float:
    """Complete calls at an even rate while others wait; return when that ends."""
    for n in range(int(seconds * rate) + 1):
        estimator.completed(began + n / rate, TOOK_S)
    return began + seconds


def test_nothing_is_known_at_first():
    """Not before a second has been measured is anybody refused, however little time is left."""
    estimator = QueueEstimator()
    assert not estimator.would_miss_deadline(10_000, 0.0, 0.001)
    now = work(estimator, 0.0, 0.9, 100)
    assert (
        estimator.expected_wait_s(10_000, now),
        estimator.would_miss_deadline(10_000, now, 0.001),
    ) == (0.0, False)
    now = work(estimator, now, 0.5, 100)
    assert estimator.would_miss_deadline(10_000, now, 1.0)


def test_the_expected_wait():
    """The wait is the queue's length by the completions per second, and a call's own duration."""
    estimator = QueueEstimator()
    now = work(estimator, 0.0, 5.0, 100)
    assert abs(estimator.expected_wait_s(200, now) - 2.0) < 0.05
    assert estimator.would_miss_deadline(200, now, 2.0)
    assert not estimator.would_miss_deadline(200, now, 2.2)
    assert abs(estimator.quick_s - TOOK_S) < 0.001


def test_the_fastest_of_the_last_counts():
    """A slow moment refuses no call, and old measurements are dropped."""
    estimator = QueueEstimator()
    now = work(estimator, 0.0, 3.0, 100)
    now = work(estimator, now, 3.0, 20)
    assert abs(estimator.expected_wait_s(100, now) - 1.0) < 0.05
    now = work(estimator, now, 30.0, 20)
    assert abs(estimator.expected_wait_s(100, now) - 5.0) < 0.3
    assert estimator.expected_wait_s(100, now + 61) == 0.0


def test_a_new_replica_resets_the_estimate():
    """The measurements before a new replica no longer count."""
    estimator = QueueEstimator()
    now = work(estimator, 0.0, 5.0, 100)
    estimator.forget()
    assert estimator.expected_wait_s(1000, now) == 0.0


def test_time_without_a_queue_does_not_count():
    """A pause with an empty queue does not count as slowness."""
    estimator = QueueEstimator()
    now = work(estimator, 0.0, 0.8, 100)
    estimator.queue_emptied()
    now = work(estimator, now + 100, 1.3, 100)
    assert abs(estimator.expected_wait_s(100, now) - 1.0) < 0.05


@given(st.lists(st.sampled_from(["in time", "late", "empty"]), max_size=400))
def test_the_margin_is_bounded(events):
    """Late calls raise the margin; calls in time and an empty queue lower it again."""
    estimator, now = QueueEstimator(), 0.0
    for event in events:
        now += 0.01
        before = estimator.margin
        if event == "late":
            estimator.late(now, ran=False)
            assert estimator.margin > before or before == 8.0
        elif event == "empty":
            estimator.queue_emptied()
            assert estimator.margin < before or before == 1.0
        else:
            estimator.completed(now, TOOK_S)
            assert estimator.margin <= before
        assert 1.0 <= estimator.margin <= 8.0


def test_one_of_twenty_may_be_late():
    """The margin is in balance at one late call in twenty."""
    estimator = QueueEstimator()
    for n in range(10_000):
        now = n / 100
        if n % 20:
            estimator.completed(now, TOOK_S)
        else:
            estimator.late(now, ran=True)
    assert estimator.margin < 1.2
    for n in range(400):
        now = 100 + n / 100
        if n % 10:
            estimator.completed(now, TOOK_S)
        else:
            estimator.late(now, ran=True)
    assert estimator.margin > 1.5
