"""The log of refused connections."""

from __future__ import annotations

import asyncio
import logging

__all__ = ["MAX_LINES", "RefusalLog"]

log = logging.getLogger("alacarte.wire")
MAX_LINES = 10
_PERIOD_S = 1.0


class RefusalLog:
    """Logs why unauthenticated connections were closed, in at most `MAX_LINES` lines a second.

    One line for each would let strangers fill the disk and slow down the event loop.
    """

    def __init__(self) -> None:
        self._lines = 0
        self._suppressed = 0
        self._last_reason = ""

    def note(self, peer: str, reason: str) -> None:
        """Log a refusal, or count the refusal for the summary at the end of the second."""
        if not self._lines:
            asyncio.get_running_loop().call_later(_PERIOD_S, self._log_suppressed)
        self._lines += 1
        if self._lines <= MAX_LINES:
            log.warning("closed a connection (%s): %s", peer, reason)
        else:
            self._suppressed += 1
            self._last_reason = reason

    def _log_suppressed(self) -> None:
        if self._suppressed:
            log.warning(
                "closed %d more connections; the last one: %s", self._suppressed, self._last_reason
            )
        self._lines = self._suppressed = 0
