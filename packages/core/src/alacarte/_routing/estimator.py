"""An estimate of a queue's speed, measured while calls wait. Pure: the time is an argument.

The estimate gives the caller of a shed call its `retry_after_s`, and sheds calls whose deadline
would pass in the queue. At first it errs on the side of accepting a call: the fastest recent
measurement counts, and a queue that was not measured long enough counts as fast. Only when
accepted calls miss their deadlines does the estimate grow stricter.
"""

from __future__ import annotations

from collections import deque

__all__ = ["QueueEstimator"]

_WINDOW_S = 1.0
_WINDOW_CALLS = 10
"""A measurement ends when it has lasted this long and counted this many calls."""
_MAX_RATES = 8
_MAX_AGE_S = 60.0
_SMOOTHING_DOWN, _SMOOTHING_UP = 0.2, 0.02
_MARGIN_GROWTH, _MARGIN_DECAY = 1.05, 1.0026
"""Factors of the margin for each late call and each call in time; in balance at one late in 20."""
_IDLE_MARGIN_FACTOR = 0.9
"""Factor of the margin whenever the queue gets empty."""
_MAX_MARGIN = 8.0


class QueueEstimator:
    """Measures completions per second while calls wait, the duration of a quick call, and lateness.

    Attributes:
        quick_s: Duration of a quick call; 0.0 before the first measurement.
        margin: Factor by which the expected wait exceeds the measured one.
    """

    __slots__ = ("_count", "_rates", "_window_start", "margin", "quick_s")

    def __init__(self) -> None:
        self.quick_s = 0.0
        self.margin = 1.0
        self._window_start: float | None = None
        self._count = 0
        self._rates: deque[tuple[float, float]] = deque(maxlen=_MAX_RATES)

    def completed(self, now: float, took_s: float) -> None:
        """Record a call that ended in time while others waited."""
        self.margin = max(self.margin / _MARGIN_DECAY, 1.0)
        if not self.quick_s:
            self.quick_s = took_s
        else:
            step = _SMOOTHING_DOWN if took_s < self.quick_s else _SMOOTHING_UP
            self.quick_s += step * (took_s - self.quick_s)
        self._count_completion(now)

    def late(self, now: float, *, ran: bool) -> None:
        """Record a call that had waited and missed its deadline, in the queue or while it ran."""
        self.margin = min(self.margin * _MARGIN_GROWTH, _MAX_MARGIN)
        if ran:
            self._count_completion(now)

    def queue_emptied(self) -> None:
        """Record that the queue is empty, which ends the current measurement."""
        self._window_start = None
        self.margin = max(self.margin * _IDLE_MARGIN_FACTOR, 1.0)

    def forget(self) -> None:
        """Drop the measurements, because the capacity has grown."""
        self._window_start = None
        self._rates.clear()

    def expected_wait_s(self, queued: int, now: float) -> float:
        """Return the wait of a call behind `queued` others, at best; 0.0 if unknown."""
        rate = max((rate for at, rate in self._rates if now - at < _MAX_AGE_S), default=0.0)
        return queued / rate if rate else 0.0

    def would_miss_deadline(self, queued: int, now: float, left_s: float) -> bool:
        """Return whether a call with `left_s` to its deadline would miss its deadline."""
        wait_s = self.expected_wait_s(queued, now)
        return wait_s > 0.0 and (wait_s + self.quick_s) * self.margin > left_s

    def _count_completion(self, now: float) -> None:
        if self._window_start is None:
            self._window_start, self._count = now, 0
            return
        self._count += 1
        elapsed = now - self._window_start
        if elapsed >= _WINDOW_S and self._count >= _WINDOW_CALLS:
            self._rates.append((now, self._count / elapsed))
            self._window_start, self._count = now, 0
