"""The account of a deployment's failures, at times that the tests give."""

from __future__ import annotations

import logging

import pytest

from alacarte._control.failure_history import FailureHistory, first_line
from alacarte.status import Failure


def failure(kind: str = "start", message: str = "ValueError: no") -> Failure:
    return Failure(0.0, "app#D#1", kind, message, "  File user.py")


def charge(account: FailureHistory, now: float, kind: str = "start", ran_s: float = 0.0) -> None:
    account.charge(failure(kind), "app#D", now, ran_s=ran_s, blames_wanted=True)


def test_pauses_grow_with_failures_in_a_row():
    """The first three tries come at once; then longer and longer, apart by chance, to a bound."""
    account, now = FailureHistory(), 100.0
    pauses = []
    for _ in range(8):
        charge(account, now)
        pauses.append(account.pause_s(now))
        now += account.pause_s(now)
    assert pauses[:3] == [0.0, 0.0, 0.0]
    assert 0.15 <= pauses[3] <= 0.25
    assert 0.75 <= pauses[4] <= 1.25
    assert all(3.75 <= pause <= 6.25 for pause in pauses[5:])
    assert account.pause_s(now + 60) == 0.0


def test_failures_far_apart_are_not_in_a_row():
    """After half a minute without one, the first tries come at once again."""
    account = FailureHistory()
    for _ in range(6):
        charge(account, 100.0)
    assert account.pause_s(100.0) > 1
    charge(account, 200.0)
    assert account.pause_s(200.0) == 0.0


def test_what_has_run_is_tried_for_ever():
    """Its code is not what is broken: its failures count for the pause alone."""
    account = FailureHistory()
    charge(account, 100.0)
    charge(account, 100.0)
    assert account.failed_starts == 2
    account.note_run()
    assert account.failed_starts == 0
    charge(account, 100.0)
    assert account.failed_starts == 0
    account.forgive(is_new=False)
    charge(account, 100.0)
    assert account.failed_starts == 0
    account.forgive(is_new=True)
    charge(account, 100.0)
    assert account.failed_starts == 1


def test_failures_that_blame_something_else_do_not_count():
    """The cluster's silence, or settings of before; but they delay the next start."""
    account = FailureHistory()
    for _ in range(5):
        account.charge(failure(), "app#D", 100.0, ran_s=0.0, blames_wanted=False)
    assert account.failed_starts == 0
    assert account.pause_s(100.0) > 0


@pytest.mark.parametrize(("ran_s", "counts"), [(1.0, 1), (100.0, 0)])
def test_a_death_counts_where_the_replica_was_young(ran_s: float, counts: int):
    """One that dies at once would be started without end; one that has served is another matter."""
    account = FailureHistory()
    charge(account, 100.0, "death", ran_s)
    assert account.failed_starts == counts
    assert "ValueError: no" in account.message


def test_forgiven_and_forgotten():
    """A new try begins without pause and message; what has happened stays for the status."""
    account = FailureHistory()
    for number in range(12):
        account.note(failure(message=str(number)))
        charge(account, 100.0)
    account.forgive(is_new=False)
    assert (account.message, account.pause_s(100.0)) == ("", 0.0)
    assert [each.message for each in account.recent] == [str(number) for number in range(2, 12)]


def test_a_traceback_is_logged_once(caplog: pytest.LogCaptureFixture):
    """The next tries will most likely repeat it; before anything has run, the driver is told."""
    account = FailureHistory()
    with caplog.at_level(logging.WARNING, "alacarte.controller"):
        charge(account, 100.0)
        assert caplog.messages == []
        account.note_run()
        account.forgive(is_new=False)
        charge(account, 100.0)
        charge(account, 100.0)
    whole = "app#D: ValueError: no\n  File user.py"
    assert caplog.messages == [whole, first_line(whole)]
