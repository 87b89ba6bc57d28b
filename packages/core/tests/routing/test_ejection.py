"""The rules of ejection, on a clock of the test."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from alacarte._routing.ejection import (
    BASE_EJECTION_S,
    DECAY_S,
    FAILURE_THRESHOLD,
    MAX_EJECTION_S,
    Ejection,
    FailureRecord,
    first_restored,
    max_ejected,
)

DRAWN = st.floats(0, 1)


def fail_until_ejected(record: FailureRecord, now: float, jitter: float = 1.0) -> float:
    """Fail until the replica is ejected; return the length of the ejection."""
    for _ in range(FAILURE_THRESHOLD - 1):
        assert not record.failed(now, jitter)
    assert record.failed(now, jitter)
    return record.until - now


def test_each_time_lasts_twice_as_long():
    """From a second to half a minute."""
    record, now, pauses = FailureRecord(), 0.0, []
    for _ in range(8):
        pause = fail_until_ejected(record, now)
        pauses.append(pause)
        now += pause
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]


def test_only_failures_in_a_row_count():
    """A success between failures starts the count again."""
    record = FailureRecord()
    for _ in range(100):
        assert not record.failed(1.0, 1.0)
        assert not record.failed(1.0, 1.0)
        record.succeeded()
    assert record.until < 0


def test_time_without_a_failure_takes_ejections_back():
    """Each minute without a failure takes back one ejection, down to none."""
    record = FailureRecord()
    now = 0.0
    for _ in range(4):
        now += fail_until_ejected(record, now)
    now = record._last + 2 * DECAY_S
    assert fail_until_ejected(record, now) == 4 * BASE_EJECTION_S
    assert fail_until_ejected(record, now + 100 * DECAY_S) == BASE_EJECTION_S


@given(st.lists(st.tuples(st.floats(0, 100), DRAWN, st.booleans()), max_size=60))
def test_ejections_are_bounded(events):
    """Never shorter than three quarters of a second, never longer than half a minute."""
    record, now, row = FailureRecord(), 0.0, 0
    for pause, jitter, fails in events:
        now += pause
        if not fails:
            record.succeeded()
            row = 0
            continue
        row += 1
        out = record.failed(now, jitter)
        assert out == (row == FAILURE_THRESHOLD)
        if out:
            row = 0
            assert 0.75 * BASE_EJECTION_S <= record.until - now <= MAX_EJECTION_S


@given(st.integers(0, 10_000))
def test_half_stays(connected):
    """At most half of the replicas may be ejected, rounded down: of one, none."""
    assert connected - max_ejected(connected) == (connected + 1) // 2


@given(st.dictionaries(st.text(), st.builds(Ejection, st.booleans(), st.floats(0, 99)), min_size=1))
def test_the_replica_to_restore_first(ejections):
    """A replica that answers comes before an unresponsive one; then the earliest end decides."""
    chosen = ejections[first_restored(ejections)]
    assert not chosen.unresponsive or all(other.unresponsive for other in ejections.values())
    assert all(
        chosen.until <= other.until
        for other in ejections.values()
        if other.unresponsive == chosen.unresponsive
    )
