"""The budget of retries of calls that may have started. Pure, except for the clock.

Without a bound, each lost replica would add load to the remaining ones.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["MAX_REPEATS", "RetryBudget"]

MAX_REPEATS = 1
"""Most retries of one call; a call that kills its replica kills at most two."""
TOKENS_PER_CALL = 0.2
"""Average share of the idempotent calls that may be retried, plus"""
TOKENS_PER_S = 10.0
"""this many retries per second, so that a process with few calls can retry."""
_MAX_TOKENS = 10.0 * TOKENS_PER_S
"""The tokens of ten seconds; unused ones above that are lost."""


class RetryBudget:
    """A token bucket, filled by calls and time; each retry takes one token.

    Args:
        clock: Monotonic seconds.
    """

    __slots__ = ("_clock", "_filled", "_tokens")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._filled = clock()
        self._tokens = TOKENS_PER_S

    def deposit(self) -> None:
        """Add the tokens of an idempotent call."""
        self._tokens = min(self._tokens + TOKENS_PER_CALL, _MAX_TOKENS)

    @property
    def available(self) -> int:
        """Number of retries that are allowed now."""
        now = self._clock()
        self._tokens = min(self._tokens + (now - self._filled) * TOKENS_PER_S, _MAX_TOKENS)
        self._filled = now
        return int(self._tokens)

    def take(self) -> bool:
        """Take a token for a retry; return False if none is left."""
        if not self.available:
            return False
        self._tokens -= 1.0
        return True
