"""One timer for all routers of a process, which runs only while there is something to look at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["TICK_S", "Sweep"]

TICK_S = 0.25


class Sweep:
    """Looks around four times a second, instead of a timer for each call.

    Rounds are counted, not seconds: while this process itself stands still, nobody is blamed for
    what was not read.

    Attributes:
        awake: The next round will come. Otherwise `wake` when there is something to look at.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.awake = False
        self._loop = loop
        self._looks: list[Callable[[], bool]] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, look: Callable[[], bool]) -> None:
        """Call `look` each round; it returns whether it needs a further one."""
        self._looks.append(look)

    def discard(self, look: Callable[[], bool]) -> None:
        """Call it no more."""
        if look in self._looks:
            self._looks.remove(look)
        if not self._looks and self._timer is not None:
            self._timer.cancel()
            self.awake = False

    def wake(self) -> None:
        """Look around, beginning with the next round."""
        if not self.awake:
            self.awake = True
            self._timer = self._loop.call_later(TICK_S, self._round)

    def _round(self) -> None:
        self.awake = False
        # All of them are asked, and not only the first that needs another round.
        if True in [look() for look in list(self._looks)]:
            self.wake()
