"""Reports in the controller: they reach their receivers, and processes that end are forgotten."""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
from collections.abc import Mapping
from typing import Any

from alacarte._control import report_topics
from alacarte._control.report_topics import ReportTopics
from alacarte._control.tallies import Tallies
from alacarte._model.tallies import BUCKETS
from alacarte._process.topic_reporter import PERIOD_S, TopicReporter
from alacarte.actors import FORGET_S, HEARTBEAT_S, SPLITS_TOPIC, SplitReport, TallyReport
from alacarte.types import ProcessId, ReportTopic

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


def topics(*names: str) -> ReportTopics:
    return ReportTopics({name: ReportTopic(name, Receiver) for name in names})


def values_of(topics: ReportTopics, name: str) -> dict[ProcessId, Any]:
    return topics.receiver(name, Receiver).values


def packed(**values: Any) -> dict[str, bytes]:
    return {name: json.dumps(value).encode() for name, value in values.items()}


def test_each_receiver_has_its_topic_s_newest_values(run):
    """Of each process its own; the answer names what is held of the process."""

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
    """One that was sent earlier than the last, as after a call whose answer did not come."""

    async def main() -> None:
        here = topics("a")
        here.report(ONE, 2, packed(a="new"))
        assert here.report(ONE, 1, packed(a="old")) == {"a"}
        assert values_of(here, "a") == {ONE: "new"}
        here.close()

    run(main)


def test_a_process_that_is_silent_is_forgotten(run):
    """One that gives a sign of life is not, and one that comes back is asked for everything."""

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


def test_a_receiver_that_fails_harms_nobody(run, caplog):
    """Neither do values that cannot be decoded, nor topics whose receiver cannot be made."""

    def broken() -> Receiver:
        raise OSError("no receiver today")

    async def main() -> None:
        names = {name: ReportTopic(name, Receiver) for name in ("a", "b")}
        here = ReportTopics({**names, "c": ReportTopic("c", broken)})
        everything = {**packed(a="bad", c=1, unknown=1), "b": b"{"}
        assert here.report(ONE, 1, everything) == {"a", "b", "c", "unknown"}
        here.report(ONE, 2, everything)
        here.report(ONE, 3, packed(b=3))
        assert values_of(here, "b") == {ONE: 3}
        here.close()

    with caplog.at_level(logging.ERROR, "alacarte.controller"):
        run(main)
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "the topic c has no receiver: what is reported to it is lost",
        "the receiver of the topic a failed",  # each once, however often they fail
        "the receiver of the topic b failed",
    ]


def test_a_route_that_comes_back_has_its_counts_again(run):
    """Counts that were dropped with a route are asked for again, without another call of it."""
    split = SplitReport("k", 1.0, (TallyReport("a#A", False, 7, 0, 0, 1.0, (0,) * BUCKETS),))
    topic = ReportTopic(SPLITS_TOPIC, Tallies, pickle.dumps, pickle.loads)

    async def main() -> None:
        here = ReportTopics({SPLITS_TOPIC: topic})
        tallies = here.receiver(SPLITS_TOPIC, Tallies)

        async def send(number: int, values: Mapping[str, bytes]) -> frozenset[str]:
            return here.report(ONE, number, values)

        there = TopicReporter({SPLITS_TOPIC: topic}, send)
        there.report(SPLITS_TOPIC, (split,))
        await asyncio.sleep(1)
        tallies.keep({"another"})
        tallies.keep({"k", "another"})
        assert tallies.counts("k", "a#A", shadow=False).requests == 0
        await asyncio.sleep(HEARTBEAT_S + PERIOD_S)
        assert tallies.counts("k", "a#A", shadow=False).requests == 7
        there.close()
        here.close()
        await asyncio.sleep(0)

    run(main)


def test_processes_are_bounded(run, monkeypatch):
    """One too many, and the one that was silent for longest is forgotten."""
    monkeypatch.setattr(report_topics, "MAX_PROCESSES", 2)

    async def main() -> None:
        here = topics("a")
        for number, process in enumerate([ONE, TWO, ONE, ProcessId("three", "there", "3")]):
            here.report(process, number, packed(a=number))
        assert [process.name for process in values_of(here, "a")] == ["one", "three"]
        here.close()

    run(main)
