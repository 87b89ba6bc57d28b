"""Meter of the load that one process puts on one deployment. Pure, except for a clock."""

from __future__ import annotations

from collections.abc import Callable

from alacarte.types import DeploymentId

from ._load_reports import LoadReport

__all__ = ["LoadMeter"]

_RISE_FACTOR = 1.5


class LoadMeter:
    """Counts queued and running calls, and their mean over time.

    Args:
        clock: A monotonic clock, in seconds.
    """

    __slots__ = ("_area", "_at", "_began", "_clock", "_deployment", "_expected", "_high", "_low",
                 "queued", "running")  # fmt: skip

    def __init__(self, deployment: DeploymentId, clock: Callable[[], float]) -> None:
        self.queued = 0
        self.running = 0
        self._deployment = deployment
        self._clock = clock
        self._began = self._at = clock()
        self._area = 0.0
        self._high = self._low = 0
        self._expected = 1.0

    @property
    def total(self) -> int:
        """Number of queued and running calls."""
        return self.queued + self.running

    @property
    def has_risen(self) -> bool:
        """Whether the load exceeds 1.5 times the last report's maximum by more than 1."""
        return self.queued + self.running > self._expected

    def change(self, queued: int, running: int) -> None:
        """Set the number of queued and running calls."""
        # `_accumulate` inlined: this method runs up to three times per call.
        now = self._clock()
        self._area += (now - self._at) * (self.queued + self.running)
        self._at = now
        self.queued, self.running = queued, running
        total = queued + running
        if total > self._high:
            self._high = total
        elif total < self._low:
            self._low = total

    def report(self) -> LoadReport:
        """Return a report of the load since the last report."""
        self._accumulate()
        over_s = self._at - self._began
        mean = self._area / over_s if over_s > 0 else float(self.total)
        found = LoadReport(
            self._deployment, self.queued, self.running, mean, self._high, self._low, over_s
        )
        self._began, self._area = self._at, 0.0
        self._expected = _RISE_FACTOR * self._high + 1.0
        self._high = self._low = self.total
        return found

    def _accumulate(self) -> None:
        now = self._clock()
        self._area += (now - self._at) * self.total
        self._at = now
