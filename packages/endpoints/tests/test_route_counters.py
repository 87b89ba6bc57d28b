"""Counts of routes: histograms, encoded reports, and sums in the controller."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alacarte.status import CallCounts
from alacarte.types import DeploymentId, ProcessId, Route
from alacarte_endpoints._call_counter import (
    CallCounter,
    RouteReport,
    decode_reports,
    encode_reports,
)
from alacarte_endpoints._histogram import BUCKETS, bucket_of, quantile_s
from alacarte_endpoints._route_counters import MAX_PROCESSES, RouteCounters

A, B = DeploymentId("a", "A"), DeploymentId("b", "B")
K = Route("/k", "a", {A: 1.0}, shadows={B: 1.0}, name="k")
L = Route("/l", "a", {A: 1.0}, name="l")


def process(name: str) -> ProcessId:
    return ProcessId(name, "node", "1")


def report(
    route: Route, seconds: list[float], *, since: float = 5.0, errors: int = 0
) -> RouteReport:
    counter = CallCounter()
    for n, each in enumerate(seconds):
        counter.note(each, n < errors)
    return RouteReport(route.fingerprint, since, (counter.report("a#A", is_shadow=False),))


def counted(counters: RouteCounters, route: Route) -> CallCounts:
    found = counters.counts_of(route)
    assert found is not None
    return found.targets["a#A"]


@given(st.lists(st.floats(1e-6, 100), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_quantiles_are_right_to_a_tenth(seconds: list[float], share: float):
    """Quantiles of times between 50 µs and 50 s are accurate to a tenth."""
    buckets = [0] * BUCKETS
    for each in seconds:
        buckets[bucket_of(each)] += 1
    exact = sorted(seconds)[math.ceil(share * len(seconds)) - 1]
    found = quantile_s(buckets, share)
    if 50e-6 <= exact <= 50:
        assert found == pytest.approx(exact, rel=0.1)
    else:
        assert found < 60e-6 or found > 45


def test_nothing_has_no_quantile():
    """Before the first call all counts and times are 0."""
    assert quantile_s([0] * BUCKETS, 0.5) == 0.0
    assert counted(RouteCounters(), K) == CallCounts()


@given(st.lists(st.floats(1e-6, 100), max_size=20))
def test_reports_travel_as_they_are(seconds: list[float]):
    """Decoded reports equal the encoded reports."""
    reports = [report(K, seconds, errors=1), report(L, [])]
    assert decode_reports(encode_reports(reports)) == reports


def test_a_route_that_is_not_split_is_not_counted():
    """A route without a split has no counts in the status."""
    assert RouteCounters().counts_of(Route("/p", "a", {A: 1.0})) is None


def test_processes_add_up():
    """The latest report of each process counts; repeated and lost reports change nothing."""
    counters = RouteCounters()
    counters.report(process("one"), [report(K, [0.1])])
    counters.report(process("one"), [report(K, [0.1, 0.3], since=4.0, errors=1)])
    counters.report(process("two"), [report(K, [0.2] * 2)])
    counters.report(process("two"), [report(K, [0.2] * 2)])
    counts = counted(counters, K)
    assert (counts.requests, counts.errors) == (4, 1)
    assert counts.mean_s == pytest.approx(0.2)
    assert counts.p50_s == pytest.approx(0.2, rel=0.1)
    assert counts.p99_s == pytest.approx(0.3, rel=0.1)
    found, other = counters.counts_of(K), counters.counts_of(L)
    assert found is not None
    assert other is not None
    assert (found.since, other.since) == (4.0, 0.0)
    assert found.shadows == {"b#B": CallCounts()}


def test_the_counts_of_a_route_that_is_gone_are_dropped():
    """Counts of other routes are dropped, with processes that have no other counts."""
    counters = RouteCounters()
    counters.report(process("one"), [report(K, [0.1]), report(L, [0.1])])
    counters.keep_routes([L])
    assert counted(counters, K).requests == 0
    assert counted(counters, L).requests == 1
    counters.keep_routes([])
    assert not counters._reported


def test_processes_are_bounded():
    """Beyond the maximum, the counts with the oldest report are dropped."""
    counters = RouteCounters()
    for n in range(MAX_PROCESSES + 5):
        counters.report(process(f"p{n}"), [report(K, [0.1])])
        counters.report(process("p0"), [report(K, [0.1])])
    assert len(counters._reported) == MAX_PROCESSES
    assert process("p0") in counters._reported


def test_dropped_counts_are_not_held():
    """Their process sends them again: those of a route that was gone, or dropped for want of
    room."""
    counters = RouteCounters()
    counters.report(process("one"), [report(K, [0.1]), report(L, [0.1])])
    counters.report(process("two"), [report(L, [0.1])])
    counters.keep_routes([L])
    assert not counters.holds(process("one"))
    assert counters.holds(process("two"))
    counters.report(process("one"), [report(L, [0.1])])
    assert counters.holds(process("one"))
    for n in range(MAX_PROCESSES):
        counters.report(process(f"p{n}"), [report(K, [0.1])])
    assert not counters.holds(process("one"))
    assert counters.holds(process("p0"))


def test_counts_of_processes_that_have_ended():
    """Counts of ended processes stay valid, and are dropped first."""
    counters = RouteCounters()
    for n in range(MAX_PROCESSES):
        counters.report(process(f"p{n}"), [report(K, [0.1])])
    counters.forget(process("p7"))
    counters.forget(process("unknown"))
    assert counted(counters, K).requests == MAX_PROCESSES
    counters.report(process("one more"), [report(K, [0.1])])
    assert counted(counters, K).requests == MAX_PROCESSES
    assert process("p7") not in counters._reported
    assert process("p0") in counters._reported
