"""Load that is measured and told: the numbers are right, and nothing is told too often."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alacarte._routing.load import LoadMeter
from alacarte._routing.load_reporter import LoadReporter
from alacarte._routing.router import Router
from alacarte.actors import LoadReport
from alacarte.testing import FakeClock
from alacarte.types import Call, DeploymentId

from .test_router import HERE, POLICIES, Far, choose_by, settle, snapshot


@given(
    st.lists(st.tuples(st.floats(0.001, 5), st.integers(0, 50), st.integers(0, 50)), max_size=40),
    st.lists(st.tuples(st.floats(0.001, 5), st.integers(0, 50), st.integers(0, 50)), max_size=40),
)
def test_mean_highest_and_lowest(before, after):
    """Of all that was asked since the last report, each value weighted by how long it held."""
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
    """Keeps what was reported, with the time; fails while told to."""

    def __init__(self) -> None:
        self.at: list[float] = []
        self.reports: list[tuple[LoadReport, ...]] = []
        self.fails = False

    async def __call__(self, reports: tuple[LoadReport, ...]) -> None:
        self.at.append(asyncio.get_running_loop().time())
        if self.fails:
            raise ConnectionError("no controller")
        self.reports.append(reports)


@pytest.fixture
def bench(run):
    """A router that follows its load, and what it reports."""

    def with_bench(main):
        async def inside():
            far, sent = Far(), Sent()
            reporter = LoadReporter(sent)
            router = Router(
                HERE,
                choose_by(POLICIES),
                far.connect,  # type: ignore[arg-type]
                "node",
                reporter=reporter,
                clock=asyncio.get_running_loop().time,
            )
            calls: list[asyncio.Task[object]] = []

            async def call(count):
                calls.extend(
                    asyncio.create_task(router.call(Call("p", (b"x",)))) for _ in range(count)
                )
                await settle()

            await main(router, far, sent, call)
            await router.close()
            reporter.close()
            await asyncio.gather(*calls, return_exceptions=True)
            await settle()

        run(inside)

    return with_bench


def follow(*replicas, **more):
    return replace(snapshot(*replicas, **more), follow_load=True)


def test_who_is_not_asked_reports_nothing(bench):
    """A deployment of a fixed size costs no report, and no task."""

    async def main(router, far, sent, call):
        router.update(snapshot("a", room=2))
        await settle()
        await call(3)
        await asyncio.sleep(20)
        assert sent.at == []

    bench(main)


def test_a_burst_without_replicas_is_told_at_once(bench):
    """The first call that waits for what is not there; a moment later, how many have come since."""

    async def main(router, far, sent, call):
        loop = asyncio.get_running_loop()
        router.update(follow())
        await settle()
        assert [r.queued for r in sent.reports[-1]] == [0]
        await asyncio.sleep(0.01)  # within the pause after a report
        began = loop.time()
        await call(1)
        assert sent.at[-1] == began
        assert [r.queued for r in sent.reports[-1]] == [1]
        await call(49)
        await asyncio.sleep(0.2)
        assert [(r.queued, r.running, r.high) for r in sent.reports[-1]] == [(50, 0, 50)]
        assert len(sent.reports) == 3

    bench(main)


def test_a_load_that_changes_all_the_time_is_told_once_a_second(bench):
    """However many calls come, and with what it was between; one that rises, ten times."""

    async def main(router, far, sent, call):
        router.update(follow("a", room=100))
        await settle()
        for _ in range(1000):
            await call(1)
            far.open[0].answer()
            await asyncio.sleep(0.002)
        assert 2 <= len(sent.reports) <= 5
        assert all(report.high <= 1 for (report,) in sent.reports)
        told = len(sent.reports)
        for count in (2, 4, 7, 12):
            await call(count)
            await asyncio.sleep(0.1)
        assert 4 <= len(sent.reports) - told <= 6

    bench(main)


def test_a_load_that_stays_is_told_every_five_seconds_and_its_end_once(bench):
    """The controller forgets who is silent; and needs to hear of nothing only once."""

    async def main(router, far, sent, call):
        router.update(follow("a", room=2))
        await settle()
        await call(3)
        await asyncio.sleep(0.2)
        told = len(sent.reports)
        assert [(r.queued, r.running) for r in sent.reports[-1]] == [(1, 2)]
        await asyncio.sleep(20.5)
        assert len(sent.reports) - told == 4
        assert [(r.mean, r.high, r.low) for r in sent.reports[-1]] == [(3, 3, 3)]
        for _ in range(2):
            for stream in far.open:
                stream.answer()
            await settle()
        await asyncio.sleep(1.1)
        assert [(r.queued, r.running) for r in sent.reports[-1]] == [(0, 0)]
        told = len(sent.reports)
        await asyncio.sleep(60)
        assert len(sent.reports) == told

    bench(main)


def test_a_report_that_is_lost_is_made_again(bench):
    """Also the one that says that nothing is asked any more; a second later, not at once."""

    async def main(router, far, sent, call):
        router.update(follow("a", room=2))
        await settle()
        await call(1)
        await asyncio.sleep(0.3)
        sent.fails = True
        far.open[0].answer()
        before = len(sent.at)
        await asyncio.sleep(10)
        assert 9 <= len(sent.at) - before <= 12
        sent.fails = False
        await asyncio.sleep(1.2)
        assert [(r.queued, r.running) for r in sent.reports[-1]] == [(0, 0)]

    bench(main)


def test_all_deployments_are_told_in_one(run):
    """One call for what has changed of any of them."""

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


def test_who_is_no_longer_asked_stops(bench):
    """A deployment that gets a fixed size again."""

    async def main(router, far, sent, call):
        router.update(follow("a", room=2))
        await call(1)
        await asyncio.sleep(0.3)
        router.update(snapshot("a", room=2))
        told = len(sent.at)
        await call(1)
        await asyncio.sleep(20)
        assert len(sent.at) == told

    bench(main)
