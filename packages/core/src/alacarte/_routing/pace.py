"""How fast a queue moves, measured while there is one. Pure: the time is given.

From it comes what a caller is told when it is refused, and which calls are refused since their
time would be over before their turn. To begin with it errs on the side of taking a call: the
fastest of what was measured lately counts, and what has not been measured long enough counts as
fast. Only where calls turn out to have been taken in vain does it grow stricter.
"""

from __future__ import annotations

from collections import deque

__all__ = ["Pace"]

_WINDOW_S = 1.0
_WINDOW_CALLS = 10
"""A measurement is done when it has both."""
_KEPT = 8
_KEPT_S = 60.0
_DOWN, _UP = 0.2, 0.02
_STRICTER, _LAXER = 1.05, 1.0026
"""Per call that was late or in time: in balance when one of twenty is late."""
_EASED = 0.9
"""Per time that the queue was empty."""
_STRICTEST = 8.0


class Pace:
    """Completions a second while calls wait, what a call takes at best, and how many are late.

    Attributes:
        quick_s: What a call takes when it is a quick one; 0.0 before any was measured.
        margin: By how much longer than measured a wait is taken to be.
    """

    __slots__ = ("_began", "_count", "_rates", "margin", "quick_s")

    def __init__(self) -> None:
        self.quick_s = 0.0
        self.margin = 1.0
        self._began: float | None = None
        self._count = 0
        self._rates: deque[tuple[float, float]] = deque(maxlen=_KEPT)

    def completed(self, now: float, took_s: float) -> None:
        """A call has ended in time while others waited."""
        self.margin = max(self.margin / _LAXER, 1.0)
        if not self.quick_s:
            self.quick_s = took_s
        else:
            step = _DOWN if took_s < self.quick_s else _UP
            self.quick_s += step * (took_s - self.quick_s)
        self._count_one(now)

    def late(self, now: float, *, ran: bool) -> None:
        """The time of a call that had waited was over, before its turn or while it ran."""
        self.margin = min(self.margin * _STRICTER, _STRICTEST)
        if ran:
            self._count_one(now)

    def interrupted(self) -> None:
        """Nobody waits any more: the time until the next completion says nothing."""
        self._began = None
        self.margin = max(self.margin * _EASED, 1.0)

    def forget(self) -> None:
        """There is a replica more: what was measured is no bound any longer."""
        self._began = None
        self._rates.clear()

    def turn_s(self, queued: int, now: float) -> float:
        """Return how long a call that comes after `queued` others waits for its turn, at best.

        0.0 when that is not known.
        """
        rate = max((rate for at, rate in self._rates if now - at < _KEPT_S), default=0.0)
        return queued / rate if rate else 0.0

    def in_vain(self, queued: int, now: float, left_s: float) -> bool:
        """Whether a call with so much time left would have it over before it is answered."""
        turn_s = self.turn_s(queued, now)
        return turn_s > 0.0 and (turn_s + self.quick_s) * self.margin > left_s

    def _count_one(self, now: float) -> None:
        if self._began is None:
            self._began, self._count = now, 0
            return
        self._count += 1
        elapsed = now - self._began
        if elapsed >= _WINDOW_S and self._count >= _WINDOW_CALLS:
            self._rates.append((now, self._count / elapsed))
            self._began, self._count = now, 0
