"""How fast a queue moves, measured while calls wait. Pure: the time is given.

The estimate gives a refused caller its `retry_after_s`, and refuses calls whose deadline would
pass before their turn. At first it errs on the side of accepting a call: the fastest recent
measurement counts, and a queue that was not measured long enough counts as fast. Only when
accepted calls miss their deadlines does the estimate grow stricter.
"""

from __future__ import annotations

from collections import deque

__all__ = ["QueueEstimator"]

_WINDOW_S = 1.0
_WINDOW_CALLS = 10
"""A measurement is done when it has both."""
_MAX_RATES = 8
_MAX_AGE_S = 60.0
_DOWN, _UP = 0.2, 0.02
_STRICTER, _LAXER = 1.05, 1.0026
"""Per call that was late or in time: in balance when one of twenty is late."""
_EASED = 0.9
"""Per time that the queue was empty."""
_STRICTEST = 8.0


class QueueEstimator:
    """Measures completions a second while calls wait, the time of a quick call, and lateness.

    Attributes:
        quick_s: The time that a quick call takes; 0.0 before any was measured.
        margin: The factor by which an expected wait exceeds the measured one.
    """

    __slots__ = ("_began", "_count", "_rates", "margin", "quick_s")

    def __init__(self) -> None:
        self.quick_s = 0.0
        self.margin = 1.0
        self._began: float | None = None
        self._count = 0
        self._rates: deque[tuple[float, float]] = deque(maxlen=_MAX_RATES)

    def completed(self, now: float, took_s: float) -> None:
        """Note that a call ended in time while others waited."""
        self.margin = max(self.margin / _LAXER, 1.0)
        if not self.quick_s:
            self.quick_s = took_s
        else:
            step = _DOWN if took_s < self.quick_s else _UP
            self.quick_s += step * (took_s - self.quick_s)
        self._count_one(now)

    def late(self, now: float, *, ran: bool) -> None:
        """Note that a call that had waited missed its deadline, before its turn or while it ran."""
        self.margin = min(self.margin * _STRICTER, _STRICTEST)
        if ran:
            self._count_one(now)

    def interrupted(self) -> None:
        """Note that the queue is empty: the time until the next completion says nothing."""
        self._began = None
        self.margin = max(self.margin * _EASED, 1.0)

    def forget(self) -> None:
        """Drop the measurements, which are no bound any longer: there is one more replica."""
        self._began = None
        self._rates.clear()

    def turn_s(self, queued: int, now: float) -> float:
        """Return how long a call that comes after `queued` others waits for its turn, at best.

        Return 0.0 when unknown.
        """
        rate = max((rate for at, rate in self._rates if now - at < _MAX_AGE_S), default=0.0)
        return queued / rate if rate else 0.0

    def in_vain(self, queued: int, now: float, left_s: float) -> bool:
        """Whether the deadline of a call with so much time left would pass before its answer."""
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
