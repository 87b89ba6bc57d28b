"""The account of a deployment's failures, at times that the tests give."""

from __future__ import annotations

import logging

import pytest

from alacarte._control.failure_history import FailureHistory, first_line
from alacarte.status import Failure


def failure(kind: str = "start", message: str = "ValueError: no") -> Failure:
    return Failure(0.0, "app#D#1", kind, message, "  File user.py")


def count_failure(
    history: FailureHistory, now: float, kind: str = "start", uptime_s: float = 0.0
) -> None:
    history.count_failure(failure(kind), "app#D", now, uptime_s=uptime_s, blames_target=True)


def test_pauses_grow_with_failures_in_a_row():
    """The first three retries have no pause; later pauses grow, with jitter, to a limit."""
    history, now = FailureHistory(), 100.0
    pauses = []
    for _ in range(8):
        count_failure(history, now)
        pauses.append(history.pause_s(now))
        now += history.pause_s(now)
    assert pauses[:3] == [0.0, 0.0, 0.0]
    assert 0.15 <= pauses[3] <= 0.25
    assert 0.75 <= pauses[4] <= 1.25
    assert all(3.75 <= pause <= 6.25 for pause in pauses[5:])
    assert history.pause_s(now + 60) == 0.0


def test_failures_far_apart_are_not_in_a_row():
    """After half a minute without a failure, retries have no pause again."""
    history = FailureHistory()
    for _ in range(6):
        count_failure(history, 100.0)
    assert history.pause_s(100.0) > 1
    count_failure(history, 200.0)
    assert history.pause_s(200.0) == 0.0


def test_what_has_run_is_tried_for_ever():
    """Failures of a version that has run add a pause but are not counted."""
    history = FailureHistory()
    count_failure(history, 100.0)
    count_failure(history, 100.0)
    assert history.failed_starts == 2
    history.record_run()
    assert history.failed_starts == 0
    count_failure(history, 100.0)
    assert history.failed_starts == 0
    history.reset(is_new=False)
    count_failure(history, 100.0)
    assert history.failed_starts == 0
    history.reset(is_new=True)
    count_failure(history, 100.0)
    assert history.failed_starts == 1


def test_failures_that_blame_something_else_do_not_count():
    """The cluster's silence, or settings of before; but they delay the next start."""
    history = FailureHistory()
    for _ in range(5):
        history.count_failure(failure(), "app#D", 100.0, uptime_s=0.0, blames_target=False)
    assert history.failed_starts == 0
    assert history.pause_s(100.0) > 0


@pytest.mark.parametrize(("uptime_s", "counts"), [(1.0, 1), (100.0, 0)])
def test_a_death_counts_where_the_replica_was_young(uptime_s: float, counts: int):
    """An early death counts as a failed start; a later one does not."""
    history = FailureHistory()
    count_failure(history, 100.0, "death", uptime_s)
    assert history.failed_starts == counts
    assert "ValueError: no" in history.message


def test_forgiven_and_forgotten():
    """`reset` clears the pause and the message, but not the recent failures."""
    history = FailureHistory()
    for number in range(12):
        history.record(failure(message=str(number)))
        count_failure(history, 100.0)
    history.reset(is_new=False)
    assert (history.message, history.pause_s(100.0)) == ("", 0.0)
    assert [each.message for each in history.recent] == [str(number) for number in range(2, 12)]


def test_a_traceback_is_logged_once(caplog: pytest.LogCaptureFixture):
    """The traceback is logged with the first failure only, and only after the version has run."""
    history = FailureHistory()
    with caplog.at_level(logging.WARNING, "alacarte.controller"):
        count_failure(history, 100.0)
        assert caplog.messages == []
        history.record_run()
        history.reset(is_new=False)
        count_failure(history, 100.0)
        count_failure(history, 100.0)
    whole = "app#D: ValueError: no\n  File user.py"
    assert caplog.messages == [whole, first_line(whole)]
