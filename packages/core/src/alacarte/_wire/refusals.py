"""What the log says of connections that were closed on strangers."""

from __future__ import annotations

import asyncio
import logging

__all__ = ["MAX_LINES", "RefusalLog"]

log = logging.getLogger("alacarte.wire")
MAX_LINES = 10
_PERIOD_S = 1.0


class RefusalLog:
    """Says why strangers were hung up on, in no more than some lines a second.

    A line for each would let them fill the disk, and hold up the event loop that writes it.
    """

    def __init__(self) -> None:
        self._lines = 0
        self._more = 0
        self._last = ""

    def note(self, peer: str, reason: str) -> None:
        """Write a line, or count one that is too many; those are told when the second is over."""
        if not self._lines:
            asyncio.get_running_loop().call_later(_PERIOD_S, self._sum_up)
        self._lines += 1
        if self._lines <= MAX_LINES:
            log.warning("closed a connection (%s): %s", peer, reason)
        else:
            self._more += 1
            self._last = reason

    def _sum_up(self) -> None:
        if self._more:
            log.warning("closed %d more connections; the last one: %s", self._more, self._last)
        self._lines = self._more = 0
