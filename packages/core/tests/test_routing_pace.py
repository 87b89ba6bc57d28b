"""How fast a queue moves, on times that are given."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from alacarte._routing.pace import Pace

TOOK_S = 0.05


def work(pace: Pace, began: float, seconds: float, rate: float) -> float:
    """Complete calls at an even pace while others wait; return when that ends."""
    for n in range(int(seconds * rate) + 1):
        pace.completed(began + n / rate, TOOK_S)
    return began + seconds


def test_nothing_is_known_at_first():
    """Not before a second has been measured is anybody refused, however little time is left."""
    pace = Pace()
    assert not pace.in_vain(10_000, 0.0, 0.001)
    now = work(pace, 0.0, 0.9, 100)
    assert (pace.turn_s(10_000, now), pace.in_vain(10_000, now, 0.001)) == (0.0, False)
    now = work(pace, now, 0.5, 100)
    assert pace.in_vain(10_000, now, 1.0)


def test_so_long_takes_the_queue():
    """What waits, by what is completed in a second; and the call itself takes its time."""
    pace = Pace()
    now = work(pace, 0.0, 5.0, 100)
    assert abs(pace.turn_s(200, now) - 2.0) < 0.05
    assert pace.in_vain(200, now, 2.0)
    assert not pace.in_vain(200, now, 2.2)
    assert abs(pace.quick_s - TOOK_S) < 0.001


def test_the_fastest_of_the_last_counts():
    """A slow moment refuses nobody; what was long ago is forgotten."""
    pace = Pace()
    now = work(pace, 0.0, 3.0, 100)
    now = work(pace, now, 3.0, 20)
    assert abs(pace.turn_s(100, now) - 1.0) < 0.05
    now = work(pace, now, 30.0, 20)
    assert abs(pace.turn_s(100, now) - 5.0) < 0.3
    assert pace.turn_s(100, now + 61) == 0.0


def test_a_new_replica_makes_everything_unknown():
    """What was measured without it is no bound any longer."""
    pace = Pace()
    now = work(pace, 0.0, 5.0, 100)
    pace.forget()
    assert pace.turn_s(1000, now) == 0.0


def test_time_without_a_queue_does_not_count():
    """A pause in which nobody waited is not taken for slowness."""
    pace = Pace()
    now = work(pace, 0.0, 0.8, 100)
    pace.interrupted()
    now = work(pace, now + 100, 1.3, 100)
    assert abs(pace.turn_s(100, now) - 1.0) < 0.05


@given(st.lists(st.sampled_from(["in time", "late", "empty"]), max_size=400))
def test_the_margin_is_bounded(events):
    """Late calls make it stricter, calls in time and an empty queue make it lax again."""
    pace, now = Pace(), 0.0
    for event in events:
        now += 0.01
        before = pace.margin
        if event == "late":
            pace.late(now, ran=False)
            assert pace.margin > before or before == 8.0
        elif event == "empty":
            pace.interrupted()
            assert pace.margin < before or before == 1.0
        else:
            pace.completed(now, TOOK_S)
            assert pace.margin <= before
        assert 1.0 <= pace.margin <= 8.0


def test_one_of_twenty_may_be_late():
    """That is where stricter and laxer are in balance: fewer would mean to refuse too many."""
    pace = Pace()
    for n in range(10_000):
        now = n / 100
        if n % 20:
            pace.completed(now, TOOK_S)
        else:
            pace.late(now, ran=True)
    assert pace.margin < 1.2
    for n in range(400):
        now = 100 + n / 100
        if n % 10:
            pace.completed(now, TOOK_S)
        else:
            pace.late(now, ran=True)
    assert pace.margin > 1.5
