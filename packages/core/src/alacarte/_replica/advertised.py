"""What a replica advertises, gathered by topic and told to its callers when it changes."""

from __future__ import annotations

import asyncio
import threading

from .._wire.advertisement import write_advertisement
from .._wire.listener import Listener

__all__ = ["Advertised"]


class Advertised:
    """The topics of one replica. Made on its event loop; `publish` may be called anywhere."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._topics: dict[str, frozenset[str]] = {}
        self._payload = b""
        self._due = False
        self._listener: Listener | None = None

    def publish(self, topic: str, values: frozenset[str]) -> None:
        """Replace what is said of one topic. Many changes in one turn of the loop are sent once.

        Raises:
            ConfigError: All topics together are too long to send; nothing changes.
        """
        with self._lock:
            if self._topics.get(topic) == values:
                return
            topics = {**self._topics, topic: values}
            self._payload = write_advertisement(topics)
            self._topics = topics
            if not self._due:
                self._due = True
                self._loop.call_soon_threadsafe(self._send)

    def listen(self, listener: Listener) -> None:
        """Send through this listener from now on, and what was said so far."""
        self._listener = listener
        if self._payload:
            listener.advertise(self._payload)

    def _send(self) -> None:
        with self._lock:
            self._due = False
        if self._listener is not None:
            self._listener.advertise(self._payload)
