"""Try again what has failed, after a pause that doubles."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["Retry"]

_FIRST_S, _LONGEST_S = 1.0, 30.0


class Retry:
    """Calls a function some time after each attempt that has failed. On the event loop.

    Args:
        again: Makes another attempt, and says how that went with `attempted`.
    """

    def __init__(self, again: Callable[[], None]) -> None:
        self._again = again
        self._pause_s = _FIRST_S
        self._timer: asyncio.TimerHandle | None = None

    def attempted(self, *, failed: bool) -> None:
        """Plan the next attempt, or none after one that went well."""
        self.close()
        if not failed:
            self._pause_s = _FIRST_S
            return
        self._timer = asyncio.get_running_loop().call_later(self._pause_s, self._again)
        self._pause_s = min(2 * self._pause_s, _LONGEST_S)

    def close(self) -> None:
        """Make no further attempt, unless one fails."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
