"""What processes have counted, put together; and how it is shown."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alacarte._control.overview import routes_overview
from alacarte._control.tallies import MOST_PROCESSES, Tallies
from alacarte._model.plan import Plan
from alacarte._model.tallies import BUCKETS, bucket_of, quantile_s, split_key
from alacarte._routing.tally import Tally
from alacarte.actors import SplitReport
from alacarte.status import CallCounts
from alacarte.types import DeploymentId, Route

A, B = DeploymentId("a", "A"), DeploymentId("b", "B")


def report(key: str, seconds: list[float], *, since: float = 5.0, errors: int = 0) -> SplitReport:
    tally = Tally()
    for n, each in enumerate(seconds):
        tally.note(each, n < errors)
    return SplitReport(key, since, (tally.report("a#A", shadow=False),))


@given(st.lists(st.floats(1e-6, 100), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_quantiles_are_right_to_a_tenth(seconds: list[float], share: float):
    """Of any times between 50 µs and 50 s."""
    buckets = [0] * BUCKETS
    for each in seconds:
        buckets[bucket_of(each)] += 1
    exact = sorted(seconds)[math.ceil(share * len(seconds)) - 1]
    found = quantile_s(buckets, share)
    if 50e-6 <= exact <= 50:
        assert found == pytest.approx(exact, rel=0.1)
    else:
        assert found < 60e-6 or found > 45


def test_of_nothing_there_is_no_quantile():
    """Before the first call, and not a time that nothing took."""
    assert quantile_s([0] * BUCKETS, 0.5) == 0.0
    assert Tallies().counts("k", "a#A", shadow=False) == CallCounts()


def test_processes_add_up():
    """Each with its newest report: a repeated or a lost one changes nothing."""
    tallies = Tallies()
    tallies.report("one", [report("k", [0.1])])
    tallies.report("one", [report("k", [0.1, 0.3], since=4.0, errors=1)])
    tallies.report("two", [report("k", [0.2] * 2)])
    tallies.report("two", [report("k", [0.2] * 2)])
    counts = tallies.counts("k", "a#A", shadow=False)
    assert (counts.requests, counts.errors) == (4, 1)
    assert counts.mean_s == pytest.approx(0.2)
    assert counts.p50_s == pytest.approx(0.2, rel=0.1)
    assert counts.p99_s == pytest.approx(0.3, rel=0.1)
    assert tallies.since("k") == 4.0
    assert tallies.counts("k", "a#A", shadow=True) == CallCounts()
    assert tallies.since("other") == 0.0


def test_what_is_no_route_any_more_is_forgotten():
    """And so is the process that told of nothing else."""
    tallies = Tallies()
    tallies.report("one", [report("k", [0.1]), report("l", [0.1])])
    tallies.keep({"l"})
    assert tallies.counts("k", "a#A", shadow=False).requests == 0
    assert tallies.counts("l", "a#A", shadow=False).requests == 1
    tallies.keep(set())
    assert not tallies._heard


def test_processes_are_bounded():
    """Those heard of longest ago make room."""
    tallies = Tallies()
    for n in range(MOST_PROCESSES + 5):
        tallies.report(f"p{n}", [report("k", [0.1])])
        tallies.report("p0", [report("k", [0.1])])
    assert len(tallies._heard) == MOST_PROCESSES
    assert "p0" in tallies._heard


def test_dropped_counts_are_not_held():
    """Whoever reported them is asked for them again: of a route that is gone, or for want of
    room."""
    tallies = Tallies()
    tallies.report("one", [report("k", [0.1]), report("l", [0.1])])
    tallies.report("two", [report("l", [0.1])])
    tallies.keep({"l"})
    assert not tallies.holds("one")
    assert tallies.holds("two")
    tallies.report("one", [report("l", [0.1])])
    assert tallies.holds("one")
    for n in range(MOST_PROCESSES):
        tallies.report(f"p{n}", [report("k", [0.1])])
    assert not tallies.holds("one")
    assert tallies.holds("p0")


def test_counts_of_processes_that_have_ended():
    """They stay right, and are the first to make room."""
    tallies = Tallies()
    for n in range(MOST_PROCESSES):
        tallies.report(f"p{n}", [report("k", [0.1])])
    tallies.forget("p7")
    tallies.forget("never heard of")
    assert tallies.counts("k", "a#A", shadow=False).requests == MOST_PROCESSES
    tallies.report("one more", [report("k", [0.1])])
    assert tallies.counts("k", "a#A", shadow=False).requests == MOST_PROCESSES
    assert "p7" not in tallies._heard
    assert "p0" in tallies._heard


def test_how_routes_are_shown():
    """By application where the target is its ingress; what is not counted has no counts."""
    c = DeploymentId("b", "Other")
    split = Route("/s", "a", {A: 0.9, c: 0.1}, frozenset({"POST", "GET"}), shadows={B: 0.5})
    plain, named = Route("/p", "a", {A: 1.0}), Route("", "e", {A: 1.0}, name="e")
    plan = Plan(dict.fromkeys([A, c, B]), (split, plain, named))  # type: ignore[arg-type]
    tallies = Tallies()
    tallies.report("one", [report(split_key(split), [0.1], since=7.0)])
    shown = routes_overview(plan, tallies)
    assert list(shown) == ["/s", "/p", "e"]
    assert {name: each.weight for name, each in shown["/s"].targets.items()} == {
        "a": 0.9,
        "b#Other": 0.1,
    }
    assert shown["/s"].methods == ("GET", "POST")
    assert shown["/s"].targets["a"].counts.requests == 1  # type: ignore[union-attr]
    assert shown["/s"].shadows["b"].weight == 0.5
    assert shown["/s"].since == 7.0
    assert (shown["/p"].targets["a"].counts, shown["/p"].methods) == (None, None)
    assert shown["e"].targets["a"].counts == CallCounts()


def test_a_split_is_another_one_when_anything_of_it_changes():
    """Order does not count, weights and shadows do."""
    base = Route("/s", "a", {A: 0.5, B: 0.5}, name="s")
    assert split_key(base) == split_key(Route("/s", "a", {B: 0.5, A: 0.5}, name="s"))
    others = [
        Route("/s", "a", {A: 0.6, B: 0.4}, name="s"),
        Route("/s", "a", {A: 0.5, B: 0.5}, name="s", shadows={A: 0.1}),
        Route("/t", "a", {A: 0.5, B: 0.5}, name="s"),
        Route("/s", "a", {A: 0.5, B: 0.5}, name="t"),
    ]
    assert len({split_key(each) for each in [base, *others]}) == 5
