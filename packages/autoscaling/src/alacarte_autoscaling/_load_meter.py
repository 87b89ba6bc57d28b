"""The load that one process puts on one deployment, over time. Pure, but for a clock."""

from __future__ import annotations

from collections.abc import Callable

from alacarte.types import DeploymentId

from ._load_reports import LoadReport

__all__ = ["LoadMeter"]

_RISE = 1.5


class LoadMeter:
    """Keeps the calls that wait and that run, and their mean over time.

    Args:
        clock: Seconds, never going back.
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
        return self.queued + self.running

    @property
    def has_risen(self) -> bool:
        """Whether the load exceeds the last report's highest by more than half, and by 1."""
        return self.queued + self.running > self._expected

    def change(self, queued: int, running: int) -> None:
        """Set how many calls wait and run from now on."""
        # As `_pass`, without its calls: this runs up to three times for each call.
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
        """Return the report of the load since the last report."""
        self._pass()
        over_s = self._at - self._began
        mean = self._area / over_s if over_s > 0 else float(self.total)
        found = LoadReport(
            self._deployment, self.queued, self.running, mean, self._high, self._low, over_s
        )
        self._began, self._area = self._at, 0.0
        self._expected = _RISE * self._high + 1.0
        self._high = self._low = self.total
        return found

    def _pass(self) -> None:
        now = self._clock()
        self._area += (now - self._at) * self.total
        self._at = now
