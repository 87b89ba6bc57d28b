"""The timer of the routers of a process, which runs only while a check needs further rounds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["TICK_S", "Sweep"]

TICK_S = 0.25


class Sweep:
    """Runs checks four times a second, in place of a timer for each call.

    Checks count rounds, not seconds, so a replica is not blamed while this process stands still.

    Attributes:
        awake: The next round is scheduled; otherwise call `wake`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.awake = False
        self._loop = loop
        self._checks: list[Callable[[], bool]] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, check: Callable[[], bool]) -> None:
        """Call `check` each round; the check returns whether it needs a further round."""
        self._checks.append(check)

    def discard(self, check: Callable[[], bool]) -> None:
        """Stop calling `check`."""
        if check in self._checks:
            self._checks.remove(check)
        if not self._checks and self._timer is not None:
            self._timer.cancel()
            self.awake = False

    def wake(self) -> None:
        """Schedule the next round."""
        if not self.awake:
            self.awake = True
            self._timer = self._loop.call_later(TICK_S, self._round)

    def _round(self) -> None:
        self.awake = False
        # A list, so that every check runs, not only those up to the first that returns True.
        if True in [check() for check in list(self._checks)]:
            self.wake()
