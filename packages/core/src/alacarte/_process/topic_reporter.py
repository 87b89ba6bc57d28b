"""Reporter of topics: sends the latest value of each topic to the controller."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping

from ..actors import HEARTBEAT_S
from ..errors import PluginError
from ..types import ReportTopic

__all__ = ["TopicReporter"]

log = logging.getLogger("alacarte.runtime")
PERIOD_S = 1.0
"""Shortest interval of messages. Of values that change faster, only the latest is sent."""

Send = Callable[[int, Mapping[str, bytes]], Awaitable[Collection[str]]]


class TopicReporter:
    """Sends values that the controller does not have, and heartbeats.

    Sends at most one message a second, with all changed topics, and an empty one after five
    seconds. The controller answers each message with the topics that it has values of; the others
    are sent again, for example after a restart of the controller.

    Args:
        topics: Topics by name.
        send: Sends a message: its number, and encoded values by topic. Returns the names of the
            topics that the controller has. After any error the values are sent again.
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

    def report(self, name: str, value: object) -> None:
        """Set the topic's latest value, and send it within a second.

        Raises:
            PluginError: No plugin registers the topic, or the encoded value is too long.
        """
        packed = self.encoded(name, value)
        if self._closed or self._latest.get(name) == packed:
            return
        self._latest[name] = packed
        self._due.add(name)
        self._news.set()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def encoded(self, name: str, value: object) -> bytes:
        """Encode a value with its topic's encoder.

        Raises:
            PluginError: No plugin registers the topic, or the encoded value is too long.
        """
        topic = self._topics.get(name)
        if topic is None:
            raise PluginError(
                f"no installed plugin registers the report topic {name!r}; registered topics: "
                f"{sorted(self._topics)}."
            )
        packed = topic.encode(value)
        if len(packed) > topic.max_bytes:
            raise PluginError(
                f"a report to the topic {name!r} has {len(packed)} bytes, the limit is "
                f"{topic.max_bytes}: report less, or raise ReportTopic.max_bytes."
            )
        return packed

    async def send(self, values: Mapping[str, bytes]) -> Collection[str]:
        """Send encoded values at once; return the names of the topics that the controller has."""
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
                received = await self.send(values)
            except Exception as error:  # the controller may be restarting
                log.debug("reports to %s were lost: %r", ", ".join(values) or "no topic", error)
                missing = set(values)
            else:
                missing = self._latest.keys() - set(received)
            if missing:
                self._due |= missing
                self._news.set()
            await asyncio.sleep(PERIOD_S)
