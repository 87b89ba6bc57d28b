"""Reports in the controller: they reach their receivers, and processes that end are forgotten."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from alacarte._control import report_topics
from alacarte._control.report_topics import ReportTopics
from alacarte._plugins.plugin_failures import PluginFailures
from alacarte._process.topic_reporter import PERIOD_S, TopicReporter
from alacarte.actors import FORGET_S, HEARTBEAT_S
from alacarte.status import RouteCounts
from alacarte.types import DeploymentId, ProcessId, ReportTopic, Route

ONE, TWO = ProcessId("one", "here", "1"), ProcessId("two", "here", "2")


class Receiver:
    """Keeps the newest value of each process."""

    def __init__(self) -> None:
        self.values: dict[ProcessId, Any] = {}

    def report(self, process: ProcessId, value: Any) -> None:
        self.values[process] = value
        if value == "bad":
            raise SystemExit(1)

    def holds(self, process: ProcessId) -> bool:
        if self.values.get(process) == "unsure":
            raise SystemExit(1)
        return self.values.get(process) != "dropped"

    def forget(self, process: ProcessId) -> None:
        del self.values[process]


def topics_of(
    topics: Mapping[str, ReportTopic], failures: PluginFailures | None = None
) -> ReportTopics:
    return ReportTopics(topics, lambda topic: f"plugin-{topic}", failures or PluginFailures())


def topics(*names: str) -> ReportTopics:
    return topics_of({name: ReportTopic(name, Receiver) for name in names})


def told(failures: PluginFailures) -> list[tuple[str, str, int]]:
    return [(each.plugin, each.hook, each.count) for each in failures.values()]


def values_of(topics: ReportTopics, name: str) -> dict[ProcessId, Any]:
    return topics.receiver(name, Receiver).values


def packed(**values: Any) -> dict[str, bytes]:
    return {name: json.dumps(value).encode() for name, value in values.items()}


def test_each_receiver_has_its_topic_s_newest_values(run):
    """Receivers have the latest value of each process; the answer lists the stored topics."""

    async def main() -> None:
        here = topics("a", "b")
        assert here.report(ONE, 1, packed(a=1)) == {"a"}
        assert here.report(TWO, 1, packed(a=[2])) == {"a"}
        assert here.report(ONE, 2, packed(a=3, b="x")) == {"a", "b"}
        assert values_of(here, "a") == {ONE: 3, TWO: [2]}
        assert values_of(here, "b") == {ONE: "x"}
        assert here.report(ONE, 3, packed(b="dropped")) == {"a"}
        assert here.report(ONE, 4, packed(b="unsure")) == {"a", "b"}
        here.close()

    run(main)


def test_a_message_that_arrives_late_changes_nothing(run):
    """A message with a lower number than the last one is ignored."""

    async def main() -> None:
        here = topics("a")
        here.report(ONE, 2, packed(a="new"))
        assert here.report(ONE, 1, packed(a="old")) == {"a"}
        assert values_of(here, "a") == {ONE: "new"}
        here.close()

    run(main)


def test_a_process_that_is_silent_is_forgotten(run):
    """A process without heartbeats is forgotten, and must send all values again."""

    async def main() -> None:
        here = topics("a")
        here.report(ONE, 1, packed(a=1))
        here.report(TWO, 1, packed(a=2))
        for number in range(2, 5):
            await asyncio.sleep(HEARTBEAT_S)
            here.report(TWO, number, {})
        await asyncio.sleep(1)
        assert values_of(here, "a") == {TWO: 2}
        assert here.report(ONE, 9, {}) == frozenset()
        await asyncio.sleep(FORGET_S)
        assert values_of(here, "a") == {}

    run(main)


def test_a_receiver_that_fails_harms_nobody(run):
    """Failures of a topic's decoder, receiver or constructor do not affect other topics.

    Each is kept with the name of the topic's plugin, and logged once, however often it fails.
    """
    failures = PluginFailures()

    def broken() -> Receiver:
        raise OSError("no receiver today")

    async def main() -> None:
        names = {name: ReportTopic(name, Receiver) for name in ("a", "b")}
        here = topics_of({**names, "c": ReportTopic("c", broken)}, failures)
        everything = {**packed(a="bad", c=1, unknown=1), "b": b"{"}
        assert here.report(ONE, 1, everything) == {"a", "b", "c", "unknown"}
        here.report(ONE, 2, everything)
        here.report(ONE, 3, packed(b=3))
        assert values_of(here, "b") == {ONE: 3}
        here.close()

    run(main)
    assert told(failures) == [
        ("plugin-c", "topic c: create", 1),
        ("plugin-a", "topic a: report", 2),
        ("plugin-b", "topic b: report", 2),
    ]


class Counter(Receiver):
    """Counts the calls by routes, or fails."""

    def __init__(self, counts: RouteCounts | None = None, error: Exception | None = None) -> None:
        super().__init__()
        self.counts = counts
        self.error = error
        self.kept: list[Sequence[Route]] = []

    def keep_routes(self, routes: Sequence[Route]) -> None:
        if self.error is not None:
            raise self.error
        self.kept.append(routes)

    def counts_of(self, route: Route) -> RouteCounts | None:
        if self.error is not None:
            raise self.error
        return self.counts


class Bounded(Receiver):
    """A receiver that can drop a process's value."""

    def holds(self, process: ProcessId) -> bool:
        return process in self.values


def test_a_value_that_its_receiver_drops_is_sent_again(run):
    """The next heartbeat's answer lacks a dropped value, so the process sends it again."""
    topic = ReportTopic("t", Bounded)

    async def main() -> None:
        here = topics_of({"t": topic})

        async def send(number: int, values: Mapping[str, bytes]) -> frozenset[str]:
            return here.report(ONE, number, values)

        there = TopicReporter({"t": topic}, send)
        there.report("t", 7)
        await asyncio.sleep(1)
        assert values_of(here, "t").pop(ONE) == 7
        await asyncio.sleep(HEARTBEAT_S + PERIOD_S)
        assert values_of(here, "t") == {ONE: 7}
        there.close()
        here.close()
        await asyncio.sleep(0)

    run(main)


def test_receivers_that_count_routes_are_asked(run):
    """The first receiver that counts a route answers; a failing one is recorded and skipped."""
    failures = PluginFailures()
    counters = [Counter(error=OSError("no")), Counter(), Counter(RouteCounts(7.0))]
    route = Route("/r", "r", {DeploymentId("r", "R"): 1.0})

    async def main() -> None:
        names = {
            f"t{n}": ReportTopic(f"t{n}", lambda each=each: each) for n, each in enumerate(counters)
        }
        here = topics_of({"plain": ReportTopic("plain", Receiver), **names}, failures)
        here.keep_routes([route])
        assert here.counts_of(route) == RouteCounts(7.0)
        here.close()

    run(main)
    assert [each.kept for each in counters] == [[], [[route]], [[route]]]
    assert told(failures) == [
        ("plugin-t0", "topic t0: keep_routes", 1),
        ("plugin-t0", "topic t0: counts_of", 1),
    ]
    assert topics_of({}).counts_of(route) is None


def test_processes_are_bounded(run, monkeypatch):
    """Beyond the limit, the process with the oldest report is forgotten."""
    monkeypatch.setattr(report_topics, "MAX_PROCESSES", 2)

    async def main() -> None:
        here = topics("a")
        for number, process in enumerate([ONE, TWO, ONE, ProcessId("three", "there", "3")]):
            here.report(process, number, packed(a=number))
        assert [process.name for process in values_of(here, "a")] == ["one", "three"]
        here.close()

    run(main)
