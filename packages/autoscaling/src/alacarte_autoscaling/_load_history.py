"""Load of one deployment over a window of time, from the reports of callers. No clock.

Each calling process reports its current load, and the mean since its previous report. Until the
next report, the load counts as unchanged; that report then corrects the past.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from alacarte.actors import FORGET_S

from ._load_reports import LoadReport

__all__ = ["LoadHistory"]

_MAX_PIECES = 60
"""Maximum number of pieces per process in the window; shorter pieces are merged."""
_DIGITS = 6
"""Decimal places of a load, so that sums of fractions reach zero."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """The load of a span of time."""

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
    """The current and past load of one process."""

    reported_at: float
    queued: int = 0
    running: int = 0
    pieces: deque[_Piece] = field(default_factory=deque)
    area: float = 0.0
    """Requests times seconds, of all pieces."""

    @property
    def total(self) -> int:
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
            self.area = 0.0  # drop rounding errors

    def area_since(self, start: float, now: float) -> float:
        """Return requests times seconds since `start`; no piece ends before `start`."""
        before = 0.0
        if self.pieces and self.pieces[0].start < start:
            first = self.pieces[0]
            before = first.mean * (start - first.start)
        return self.area - before + self.total * (now - max(self.reported_at, start))

    def current(self, until: float) -> _Piece:
        """Return the piece since the last report, with the load unchanged."""
        return _Piece(self.reported_at, until, self.total, self.total, self.total)


class LoadHistory:
    """The load of all processes on one deployment.

    Args:
        look_back_s: Length of the window, in seconds.
        now: Start of the history, and of all averages.
    """

    def __init__(self, look_back_s: float, now: float) -> None:
        self._look_back_s = look_back_s
        self._since = now
        self._callers: dict[str, _Caller] = {}
        self._steady_at = now

    def look_back(self, look_back_s: float, now: float) -> None:
        """Set the length of the window. A longer window does not restore dropped pieces."""
        if look_back_s != self._look_back_s:
            self._look_back_s = look_back_s
            self._changed(now)

    @property
    def queued(self) -> int:
        """Number of queued requests, by the latest reports."""
        return sum(caller.queued for caller in self._callers.values())

    @property
    def running(self) -> int:
        """Number of requests in replicas, by the latest reports."""
        return sum(caller.running for caller in self._callers.values())

    def add(self, process: str, report: LoadReport, now: float) -> None:
        """Add a process's report."""
        caller = self._callers.get(process)
        if caller is None:
            # A process reports its first call, so it had no load before.
            began = max(self._since, now - max(report.over_s, 0.0))
            caller = self._callers[process] = _Caller(began)
            self._changed(began)
        grain_s = self._look_back_s / _MAX_PIECES
        start = min(max(now - max(report.over_s, 0.0), caller.reported_at), now)
        caller.add(caller.current(start), grain_s)  # where a report in between was lost
        caller.add(_Piece(start, now, report.mean, report.high, report.low), grain_s)
        total = report.queued + report.running
        if not (caller.total == total == report.high == report.low):
            self._changed(now)
        caller.reported_at = now
        caller.queued, caller.running = report.queued, report.running

    def steady(self, now: float) -> bool:
        """Return whether the load was constant over the whole window."""
        return now >= self._steady_at

    def next_change(self, now: float) -> float | None:
        """Return when `load` changes without a new report, None for never."""
        ends = [caller.reported_at + FORGET_S for caller in self._callers.values() if caller.total]
        if not self.steady(now):
            ends.append(min(now + self._look_back_s / _MAX_PIECES, self._steady_at))
        return min(ends, default=None)

    def load(self, function: Literal["mean", "max", "min"], now: float) -> float:
        """Return the load over the window, aggregated to one number.

        "max" and "min" are the extremes of the sum over all processes. Extremes of several
        processes within a sixtieth of the window count as simultaneous.
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
            for piece in (*caller.pieces, caller.current(now)):
                if piece.end > start and piece.end > piece.start:
                    yield piece.since(start)

    def _sums(self, function: str, start: float, now: float) -> Iterator[int]:
        """Yield the total load of each span of the window with a constant load."""
        steps = {start: 0, now: 0}
        for piece in self._window(start, now):
            load = piece.high if function == "max" else piece.low
            steps[piece.start] = steps.get(piece.start, 0) + load
            steps[piece.end] = steps.get(piece.end, 0) - load
        total = 0
        for moment in sorted(steps)[:-1]:
            total += steps[moment]
            yield total

    def forget(self, now: float) -> None:
        """Drop pieces before the window, and the load of processes that have ended."""
        grain_s = self._look_back_s / _MAX_PIECES
        for process, caller in list(self._callers.items()):
            if caller.total and now >= caller.reported_at + FORGET_S:
                caller.add(caller.current(now), grain_s)
                caller.reported_at, caller.queued, caller.running = now, 0, 0
                self._changed(now)
            caller.forget(now - self._look_back_s)
            if not caller.pieces and not caller.total:
                del self._callers[process]

    def _changed(self, now: float) -> None:
        self._steady_at = max(self._steady_at, now + self._look_back_s)
