"""The advertiser of a replica: collects values by topic and sends changes to the callers."""

from __future__ import annotations

import asyncio
import threading

from .._wire.advertisement import write_advertisement
from .._wire.listener import Listener

__all__ = ["Advertiser"]


class Advertiser:
    """The advertised topics of a replica. Made on the event loop; `publish` is thread-safe."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._topics: dict[str, frozenset[str]] = {}
        self._payload = b""
        self._due = False
        self._listener: Listener | None = None

    def publish(self, topic: str, values: frozenset[str]) -> None:
        """Replace the values of one topic. Changes in one iteration of the loop are sent together.

        Raises:
            ConfigError: All topics together exceed one frame; nothing has changed.
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
        """Send the topics to the callers of this listener, now and after each change."""
        self._listener = listener
        if self._payload:
            listener.advertise(self._payload)

    def _send(self) -> None:
        with self._lock:
            self._due = False
        if self._listener is not None:
            self._listener.advertise(self._payload)
