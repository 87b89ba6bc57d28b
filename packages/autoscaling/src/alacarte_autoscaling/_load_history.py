"""The load of one deployment over a window of time, from its callers' reports. No clock.

Each calling process reports its load now, and the mean since its last report. Between two reports
the load counts as the last one said; the next report corrects the past.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from alacarte.actors import FORGET_S

from ._load_reports import LoadReport

__all__ = ["LoadHistory"]

_GRAINS = 60
"""Most pieces per process in the window; shorter pieces are merged."""
_DIGITS = 6
"""Decimal places of a load, so that sums of fractions reach zero."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A span of time with its load."""

    start: float
    end: float
    mean: float
    high: int
    low: int

    @property
    def area(self) -> float:
        return self.mean * (self.end - self.start)

    def with_next(self, other: _Piece) -> _Piece:
        mean = (self.area + other.area) / (other.end - self.start)
        high, low = max(self.high, other.high), min(self.low, other.low)
        return _Piece(self.start, other.end, mean, high, low)

    def since(self, moment: float) -> _Piece:
        return self if self.start >= moment else replace(self, start=moment)


@dataclass(eq=False, slots=True)
class _Caller:
    """The load of one process: now, and before."""

    heard: float
    queued: int = 0
    running: int = 0
    pieces: deque[_Piece] = field(default_factory=deque)
    area: float = 0.0
    """Requests times seconds, of all pieces."""

    @property
    def asked(self) -> int:
        return self.queued + self.running

    def add(self, piece: _Piece, grain_s: float) -> None:
        if piece.end <= piece.start:
            return
        self.area += piece.area
        if self.pieces and self.pieces[-1].end - self.pieces[-1].start < grain_s:
            piece = self.pieces.pop().with_next(piece)
        self.pieces.append(piece)

    def forget(self, before: float) -> None:
        while self.pieces and self.pieces[0].end <= before:
            self.area -= self.pieces.popleft().area
        if not self.pieces:
            self.area = 0.0  # and not what is left of sums of fractions

    def area_since(self, start: float, now: float) -> float:
        """Return requests times seconds from `start` on; no piece lies wholly before it."""
        before = 0.0
        if self.pieces and self.pieces[0].start < start:
            first = self.pieces[0]
            before = first.mean * (start - first.start)
        return self.area - before + self.asked * (now - max(self.heard, start))

    def held(self, until: float) -> _Piece:
        """Return the time since the last report, over which the load counts as unchanged."""
        return _Piece(self.heard, until, self.asked, self.asked, self.asked)


class LoadHistory:
    """The load that all processes together put on one deployment.

    Args:
        look_back_s: How far back it remembers.
        now: Before this nothing is known; time averages begin here.
    """

    def __init__(self, look_back_s: float, now: float) -> None:
        self._look_back_s = look_back_s
        self._since = now
        self._callers: dict[str, _Caller] = {}
        self._steady_at = now

    def look_back(self, look_back_s: float, now: float) -> None:
        """Set the length of the window; a longer one does not bring back what was dropped."""
        if look_back_s != self._look_back_s:
            self._look_back_s = look_back_s
            self._changed(now)

    @property
    def queued(self) -> int:
        """Requests that wait for a replica, by the latest reports."""
        return sum(caller.queued for caller in self._callers.values())

    @property
    def running(self) -> int:
        """Requests that replicas work on, by the latest reports."""
        return sum(caller.running for caller in self._callers.values())

    def add(self, process: str, report: LoadReport, now: float) -> None:
        """Take in a process's report."""
        caller = self._callers.get(process)
        if caller is None:
            # It tells when it begins to ask, so before that it asked nothing.
            began = max(self._since, now - max(report.over_s, 0.0))
            caller = self._callers[process] = _Caller(began)
            self._changed(began)
        grain_s = self._look_back_s / _GRAINS
        start = min(max(now - max(report.over_s, 0.0), caller.heard), now)
        caller.add(caller.held(start), grain_s)  # a report between the two was lost
        caller.add(_Piece(start, now, report.mean, report.high, report.low), grain_s)
        asked = report.queued + report.running
        if not (caller.asked == asked == report.high == report.low):
            self._changed(now)
        caller.heard = now
        caller.queued, caller.running = report.queued, report.running

    def steady(self, now: float) -> bool:
        """Return whether the load was the same over the whole window."""
        return now >= self._steady_at

    def next_change(self, now: float) -> float | None:
        """Return when `load` changes without a new report, None for never."""
        ends = [caller.heard + FORGET_S for caller in self._callers.values() if caller.asked]
        if not self.steady(now):
            ends.append(min(now + self._look_back_s / _GRAINS, self._steady_at))
        return min(ends, default=None)

    def load(self, function: Literal["mean", "max", "min"], now: float) -> float:
        """Return the load over the window as one number.

        "max" and "min" are those of the sum over all processes, from each one's own: where several
        change within a sixtieth of the window, as if their highest, or lowest, had met.
        """
        self.forget(now)
        start = max(now - self._look_back_s, self._since)
        if self.steady(now) or start >= now:
            return float(self.queued + self.running)
        if function == "mean":
            area = sum(caller.area_since(start, now) for caller in self._callers.values())
            value = area / (now - start)
        else:
            sums = [*self._sums(function, start, now), self.queued + self.running]
            value = max(sums) if function == "max" else min(sums)
        return round(value, _DIGITS)

    def _window(self, start: float, now: float) -> Iterator[_Piece]:
        for caller in self._callers.values():
            for piece in (*caller.pieces, caller.held(now)):
                if piece.end > start and piece.end > piece.start:
                    yield piece.since(start)

    def _sums(self, function: str, start: float, now: float) -> Iterator[int]:
        """Yield the spans of the window over which the total load was constant."""
        steps = {start: 0, now: 0}
        for piece in self._window(start, now):
            asked = piece.high if function == "max" else piece.low
            steps[piece.start] = steps.get(piece.start, 0) + asked
            steps[piece.end] = steps.get(piece.end, 0) - asked
        total = 0
        for moment in sorted(steps)[:-1]:
            total += steps[moment]
            yield total

    def forget(self, now: float) -> None:
        """Drop pieces that have left the window, and processes that have ended."""
        grain_s = self._look_back_s / _GRAINS
        for process, caller in list(self._callers.items()):
            if caller.asked and now >= caller.heard + FORGET_S:
                caller.add(caller.held(now), grain_s)
                caller.heard, caller.queued, caller.running = now, 0, 0
                self._changed(now)
            caller.forget(now - self._look_back_s)
            if not caller.pieces and not caller.asked:
                del self._callers[process]

    def _changed(self, now: float) -> None:
        self._steady_at = max(self._steady_at, now + self._look_back_s)
