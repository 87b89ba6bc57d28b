"""Counters of a target, and their reports."""

from __future__ import annotations

import pytest

from alacarte_endpoints._call_counter import (
    CallCounter,
    RouteReport,
    decode_reports,
    encode_reports,
)
from alacarte_endpoints._histogram import BUCKETS, quantile_s


def test_calls_and_errors():
    """Each call counts once with its time; failed calls also count as errors."""
    counter = CallCounter()
    for seconds, failed in ((0.010, False), (0.010, True), (4.0, False)):
        counter.note(seconds, failed)
    report = counter.report("a#A", is_shadow=False)
    assert (report.target, report.is_shadow) == ("a#A", False)
    assert (report.requests, report.errors, report.dropped) == (3, 1, 0)
    assert report.total_s == pytest.approx(4.02)
    assert quantile_s(report.buckets, 0.5) == pytest.approx(0.010, rel=0.1)
    assert quantile_s(report.buckets, 1.0) == pytest.approx(4.0, rel=0.1)


def test_no_time_is_outside_of_the_histogram():
    """The shortest and the longest times have buckets."""
    counter = CallCounter()
    for seconds in (0.0, 1e-9, 100.0, 1e6):
        counter.note(seconds, False)
    buckets = counter.report("a#A", is_shadow=False).buckets
    assert (len(buckets), sum(buckets), buckets[0], buckets[-1]) == (BUCKETS, 4, 2, 2)


def test_every_change_is_an_event():
    """Every change of the counters changes the number of events, dropped copies included."""
    counter = CallCounter()
    seen = [counter.events]
    counter.note(1.0, False)
    seen.append(counter.events)
    counter.note(1.0, True)
    seen.append(counter.events)
    counter.dropped += 1
    seen.append(counter.events)
    assert seen == sorted(set(seen))


def test_a_report_does_not_change():
    """A report does not change with later calls."""
    counter = CallCounter()
    counter.note(1.0, False)
    before = counter.report("a#A", is_shadow=True)
    counter.note(1.0, True)
    assert (before.requests, before.errors, sum(before.buckets)) == (1, 0, 1)


def test_reports_travel():
    """Decoded reports equal the encoded reports, in order."""
    counter = CallCounter()
    counter.note(0.25, True)
    counter.dropped = 3
    shadow = counter.report("été#S", is_shadow=True)
    reports = [
        RouteReport("f1", 1700000000.25, (CallCounter().report("a#A", is_shadow=False), shadow)),
        RouteReport("f2", 0.0, ()),
    ]
    assert decode_reports(encode_reports(reports)) == reports
    assert decode_reports(encode_reports([])) == []
