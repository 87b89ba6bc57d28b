"""Reports of a process: the latest values, at a limited rate, and again after a loss."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping
from typing import Any

import pytest

from alacarte._process.topic_reporter import PERIOD_S, TopicReporter
from alacarte.actors import HEARTBEAT_S
from alacarte.errors import PluginError
from alacarte.types import ReportTopic


class Controller:
    """A controller that stores messages, unless it is down."""

    def __init__(self) -> None:
        self.messages: list[tuple[float, dict[str, Any]]] = []
        self.numbers: list[int] = []
        self.held: set[str] = set()
        self.away = False
        self.reporter = TopicReporter(
            {name: ReportTopic(name, object, max_bytes=10) for name in ("a", "b")}, self._take
        )

    async def _take(self, number: int, values: Mapping[str, bytes]) -> Collection[str]:
        await asyncio.sleep(0.01)
        self.numbers.append(number)
        if self.away:
            raise ConnectionError
        now = asyncio.get_running_loop().time()
        self.messages.append((now, {name: json.loads(packed) for name, packed in values.items()}))
        self.held |= values.keys()
        return self.held

    @property
    def values(self) -> list[dict[str, Any]]:
        return [values for _, values in self.messages]

    async def close(self) -> None:
        self.reporter.close()
        await asyncio.sleep(0)


def test_the_first_value_is_sent_at_once_and_the_latest_a_second_later(run):
    """Intermediate and unchanged values are not sent."""

    async def main() -> None:
        there = Controller()
        began = asyncio.get_running_loop().time()
        for value in range(200):
            there.reporter.report("a", value)
            there.reporter.report("b", "same")
            await asyncio.sleep(0.01)
        await asyncio.sleep(PERIOD_S)
        assert there.values[0] == {"a": 0, "b": "same"}
        assert there.values[-1] == {"a": 199}
        assert len(there.values) == 3
        assert there.messages[0][0] - began < 0.1
        assert there.numbers == [1, 2, 3]
        await there.close()

    run(main)


def test_signs_of_life(run):
    """Once there was a value, an empty message follows every five seconds."""

    async def main() -> None:
        there = Controller()
        await asyncio.sleep(3 * HEARTBEAT_S)
        assert there.messages == []
        there.reporter.report("a", 1)
        await asyncio.sleep(3 * HEARTBEAT_S)
        assert there.values == [{"a": 1}, {}, {}]
        await there.close()

    run(main)


def test_another_controller_is_told_everything(run):
    """A restarted controller has all values a second after the next message."""

    async def main() -> None:
        there = Controller()
        there.reporter.report("a", 1)
        there.reporter.report("b", 2)
        await asyncio.sleep(PERIOD_S)
        there.held.clear()
        there.messages.clear()
        await asyncio.sleep(HEARTBEAT_S + PERIOD_S)
        assert there.values == [{}, {"a": 1, "b": 2}]
        await there.close()

    run(main)


def test_what_is_lost_is_sent_again(run):
    """With the value that is the latest by then."""

    async def main() -> None:
        there = Controller()
        there.away = True
        there.reporter.report("a", 1)
        await asyncio.sleep(PERIOD_S)
        there.reporter.report("b", 2)
        there.reporter.report("a", 3)
        there.away = False
        await asyncio.sleep(2 * PERIOD_S)
        assert there.values == [{"a": 3, "b": 2}]
        await there.close()

    run(main)


def test_what_cannot_be_reported(run):
    """A topic that nobody registers and a value that is too long are refused where they are made;
    a closed process reports nothing."""

    async def main() -> None:
        there = Controller()
        with pytest.raises(PluginError, match=r"report topic 'c'; registered topics: \['a', 'b'\]"):
            there.reporter.report("c", 1)
        with pytest.raises(PluginError, match="'a' has 11 bytes, the limit is 10"):
            there.reporter.report("a", "123456789")
        there.reporter.report("a", 1)
        await there.close()
        there.reporter.report("a", 2)
        await asyncio.sleep(HEARTBEAT_S)
        assert there.values in ([], [{"a": 1}])

    run(main)
