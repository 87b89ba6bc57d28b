"""Sends the latest value of each topic from this process to the controller."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from ..actors import HEARTBEAT_S
from ..errors import PluginError
from ..types import ReportTopic

__all__ = ["TopicReporter"]

log = logging.getLogger("alacarte.runtime")
PERIOD_S = 1.0
"""Between two messages: values that change faster are not all sent."""

Send = Callable[[int, Mapping[str, bytes]], Awaitable[Collection[str]]]


class TopicReporter:
    """Keeps the latest value of each topic, and sends those that the controller does not hold.

    At most one message a second, with all topics whose values have changed; every five seconds an
    empty one. The controller answers each with the topics that it holds of this process: one that
    has restarted is sent the others again.

    Args:
        topics: By name.
        send: Delivers a message: its number and encoded values by topic. Returns the names of the
            topics that the controller holds; whatever it raises, the values are sent again.
    """

    def __init__(self, topics: Mapping[str, ReportTopic], send: Send) -> None:
        self._topics = topics
        self._send = send
        self._latest: dict[str, bytes] = {}
        self._due: set[str] = set()
        self._number = 0
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def report(self, name: str, value: Any) -> None:
        """Send a value in place of the topic's last one, within a second.

        Raises:
            PluginError: No plugin registers the topic, or its encoded value is too long.
        """
        packed = self.encoded(name, value)
        if self._closed or self._latest.get(name) == packed:
            return
        self._latest[name] = packed
        self._due.add(name)
        self._news.set()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def encoded(self, name: str, value: Any) -> bytes:
        """Return a value as its topic encodes it.

        Raises:
            PluginError: No plugin registers the topic, or its encoded value is too long.
        """
        topic = self._topics.get(name)
        if topic is None:
            raise PluginError(
                f"no installed plugin registers the report topic {name!r}; there are "
                f"{sorted(self._topics)}."
            )
        packed = topic.encode(value)
        if len(packed) > topic.max_bytes:
            raise PluginError(
                f"a report to the topic {name!r} takes {len(packed)} bytes, at most "
                f"{topic.max_bytes} are allowed: report less, or raise ReportTopic.max_bytes."
            )
        return packed

    async def send(self, values: Mapping[str, bytes]) -> Collection[str]:
        """Send encoded values at once; return the names of the topics that the controller holds."""
        self._number += 1
        return await self._send(self._number, values)

    def close(self) -> None:
        """Send nothing more."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_S - PERIOD_S):
                    await self._news.wait()
            self._news.clear()
            values = {name: self._latest[name] for name in self._due}
            self._due.clear()
            try:
                held = await self.send(values)
            except Exception as error:  # the controller may be away
                log.debug("reports to %s were lost: %r", ", ".join(values) or "no topic", error)
                missing = set(values)
            else:
                missing = self._latest.keys() - set(held)
            if missing:
                self._due |= missing
                self._news.set()
            await asyncio.sleep(PERIOD_S)
