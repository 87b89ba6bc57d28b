"""Counts what became of calls. It costs next to nothing, since it is done for each of them."""

from __future__ import annotations

from .._model.tallies import BUCKETS, bucket_of
from ..actors import TallyReport

__all__ = ["Tally"]


class Tally:
    """The calls of one target in one process.

    Attributes:
        dropped: Copies that were not sent, or not to the end.
    """

    __slots__ = ("_buckets", "_errors", "_requests", "_total_s", "dropped")

    def __init__(self) -> None:
        self._requests = 0
        self._errors = 0
        self._total_s = 0.0
        self._buckets = [0] * BUCKETS
        self.dropped = 0

    @property
    def events(self) -> int:
        """How much has been counted; it grows with whatever changes."""
        return self._requests + self.dropped

    def note(self, seconds: float, failed: bool) -> None:
        """A call has ended.

        Args:
            seconds: From its beginning to that of its reply.
        """
        self._requests += 1
        if failed:
            self._errors += 1
        self._total_s += seconds
        self._buckets[bucket_of(seconds)] += 1

    def report(self, target: str, *, shadow: bool) -> TallyReport:
        """Return all of it as a value."""
        return TallyReport(
            target,
            shadow,
            self._requests,
            self._errors,
            self.dropped,
            self._total_s,
            tuple(self._buckets),
        )
