"""How often calls that were started are sent again. Pure, but for a clock that is given.

Without a bound, every lost replica would turn into more load for those that are left.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["MAX_REPEATS", "RetryBudget"]

MAX_REPEATS = 1
"""How often one call is sent again; what kills its replica kills at most two."""
SHARE = 0.2
"""Of the calls that may be repeated, how many are, on average; and besides,"""
PER_S = 10.0
"""so many each second, so that a process that makes few calls can repeat one."""
_MOST = 10.0 * PER_S
"""What is not used in ten seconds is not kept."""


class RetryBudget:
    """A bucket that calls and time fill, and that repeating empties.

    Args:
        clock: Seconds, never going back.
    """

    __slots__ = ("_clock", "_filled", "_tokens")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._filled = clock()
        self._tokens = PER_S

    def earn(self) -> None:
        """A call was made that may be repeated."""
        self._tokens = min(self._tokens + SHARE, _MOST)

    @property
    def left(self) -> int:
        """How many calls may be repeated now."""
        now = self._clock()
        self._tokens = min(self._tokens + (now - self._filled) * PER_S, _MOST)
        self._filled = now
        return int(self._tokens)

    def take(self) -> bool:
        """Whether one more call may be repeated; if so, it is counted."""
        if not self.left:
            return False
        self._tokens -= 1.0
        return True
