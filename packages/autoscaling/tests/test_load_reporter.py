"""Measured and reported load: correct numbers at a limited rate."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alacarte.testing import FakeClock
from alacarte.types import DeploymentId
from alacarte_autoscaling._load_meter import LoadMeter
from alacarte_autoscaling._load_reporter import LoadReporter
from alacarte_autoscaling._load_reports import LOADS_TOPIC, LoadReport
from alacarte_autoscaling._load_watch import MeteredLoad, reporter_of

HERE = DeploymentId("app", "D")


@given(
    st.lists(st.tuples(st.floats(0.001, 5), st.integers(0, 50), st.integers(0, 50)), max_size=40),
    st.lists(st.tuples(st.floats(0.001, 5), st.integers(0, 50), st.integers(0, 50)), max_size=40),
)
def test_mean_highest_and_lowest(before, after):
    """The mean since the last report weights each value by its duration."""
    clock = FakeClock()
    meter = LoadMeter(HERE, clock)
    for pause, queued, running in before:
        clock.advance(pause)
        meter.change(queued, running)
    start = meter.report().queued + meter.running
    began, area, total, seen = clock.now, 0.0, start, [start]
    for pause, queued, running in after:
        clock.advance(pause)
        area += pause * total
        total = queued + running
        seen.append(total)
        meter.change(queued, running)
    clock.advance(1)
    area += total
    report = meter.report()
    assert report.mean == pytest.approx(area / (clock.now - began))
    assert report.over_s == pytest.approx(clock.now - began)
    assert (report.high, report.low) == (max(seen), min(seen))
    assert report.queued + report.running == total


class Sent:
    """Records reports with their times; fails on request."""

    def __init__(self) -> None:
        self.at: list[float] = []
        self.reports: list[tuple[LoadReport, ...]] = []
        self.fails = False

    async def __call__(self, reports: tuple[LoadReport, ...]) -> None:
        self.at.append(asyncio.get_running_loop().time())
        if self.fails:
            raise ConnectionError("no controller")
        self.reports.append(reports)


class Load:
    """The load of one process on one deployment, set by the test."""

    def __init__(self) -> None:
        self.queued = 0
        self.in_flight = 0
        self.replicas: list[Any] = []


class Bench:
    """A metered load and its reports."""

    def __init__(self, sent: Sent) -> None:
        self.load = Load()
        self.sent = sent
        self.reporter = LoadReporter(sent)
        clock = asyncio.get_running_loop().time
        self.metered = MeteredLoad(HERE, self.load, self.reporter, clock)

    async def set(self, queued: int, in_flight: int = 0) -> None:
        self.load.queued, self.load.in_flight = queued, in_flight
        self.metered.changed()
        await settle()


def benched(test: Callable[[Bench], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test with a bench in virtual time; fail if a task is pending at the end."""

    def run() -> None:
        async def main() -> None:
            bench = Bench(Sent())
            await settle()
            await test(bench)
            bench.metered.close()
            await settle()

        FakeClock().run(main())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@benched
async def test_a_burst_without_replicas_is_told_at_once(bench: Bench):
    """A first call without a replica is reported at once, and the following calls 0.1 s later."""
    loop = asyncio.get_running_loop()
    assert [r.queued for r in bench.sent.reports[-1]] == [0]
    await asyncio.sleep(0.01)  # within the pause after a report
    began = loop.time()
    await bench.set(1)
    assert bench.sent.at[-1] == began
    assert [r.queued for r in bench.sent.reports[-1]] == [1]
    for queued in range(2, 51):
        await bench.set(queued)
    await asyncio.sleep(0.2)
    assert [(r.queued, r.running, r.high) for r in bench.sent.reports[-1]] == [(50, 0, 50)]
    assert len(bench.sent.reports) == 3


@benched
async def test_a_load_that_changes_all_the_time_is_told_once_a_second(bench: Bench):
    """A load is reported once a second with its mean, a rising load ten times a second."""
    bench.load.replicas = ["a"]
    for _ in range(1000):
        await bench.set(0, 1)
        await bench.set(0, 0)
        await asyncio.sleep(0.002)
    assert 2 <= len(bench.sent.reports) <= 5
    assert all(report.high <= 1 for (report,) in bench.sent.reports)
    told = len(bench.sent.reports)
    for count in (2, 6, 13, 25):
        await bench.set(0, count)
        await asyncio.sleep(0.1)
    assert 4 <= len(bench.sent.reports) - told <= 6


@benched
async def test_a_load_that_stays_is_told_every_five_seconds_and_its_end_once(bench: Bench):
    """A constant load is reported every five seconds, zero load once."""
    bench.load.replicas = ["a"]
    await bench.set(1, 2)
    await asyncio.sleep(0.2)
    told = len(bench.sent.reports)
    assert [(r.queued, r.running) for r in bench.sent.reports[-1]] == [(1, 2)]
    await asyncio.sleep(20.5)
    assert len(bench.sent.reports) - told == 4
    assert [(r.mean, r.high, r.low) for r in bench.sent.reports[-1]] == [(3, 3, 3)]
    await bench.set(0, 0)
    await asyncio.sleep(1.1)
    assert [(r.queued, r.running) for r in bench.sent.reports[-1]] == [(0, 0)]
    told = len(bench.sent.reports)
    await asyncio.sleep(60)
    assert len(bench.sent.reports) == told


@benched
async def test_a_report_that_is_lost_is_made_again(bench: Bench):
    """A failed report is sent again after a second, also the report of zero load."""
    bench.load.replicas = ["a"]
    await bench.set(0, 1)
    await asyncio.sleep(0.3)
    bench.sent.fails = True
    await bench.set(0, 0)
    before = len(bench.sent.at)
    await asyncio.sleep(10)
    assert 9 <= len(bench.sent.at) - before <= 12
    bench.sent.fails = False
    await asyncio.sleep(1.2)
    assert [(r.queued, r.running) for r in bench.sent.reports[-1]] == [(0, 0)]


def test_all_deployments_are_told_in_one(run):
    """One message has the loads of all changed deployments."""

    async def main():
        sent = Sent()
        reporter = LoadReporter(sent)
        clock = asyncio.get_running_loop().time
        meters = [LoadMeter(DeploymentId("shop", f"{n}"), clock) for n in range(40)]
        for meter in meters:
            reporter.add(meter)
        await asyncio.sleep(0.2)
        for meter in meters:
            meter.change(1, 0)
            reporter.changed(meter)
        await asyncio.sleep(1.0)
        assert [len(reports) for reports in sent.reports] == [40, 40]
        reporter.close()
        await settle()

    run(main)


@benched
async def test_a_load_that_is_closed_is_not_reported(bench: Bench):
    """A deployment with a fixed size causes no reports and no task."""
    await bench.set(0, 1)
    await asyncio.sleep(0.3)
    bench.metered.close()
    told = len(bench.sent.at)
    await asyncio.sleep(20)
    assert len(bench.sent.at) == told


def test_a_process_has_one_reporter():
    """All loads of a runtime use one reporter, which does not keep the runtime alive."""

    class Process:
        def __init__(self) -> None:
            self.sent: list[Any] = []

        async def send_report(self, topic: str, value: Any) -> None:
            self.sent.append((topic, value))

    async def main() -> None:
        one: Any = Process()
        another: Any = Process()
        assert reporter_of(one) is reporter_of(one)
        assert reporter_of(one) is not reporter_of(another)
        metered = MeteredLoad(HERE, Load(), reporter_of(one), asyncio.get_running_loop().time)
        await settle()
        [(topic, (report,))] = one.sent
        assert (topic, report.deployment) == (LOADS_TOPIC, HERE)
        metered.close()
        await settle()
        gone = weakref.ref(one)
        del one, metered
        gc.collect()
        assert gone() is None

    FakeClock().run(main())
