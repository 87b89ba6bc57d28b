"""What became of the calls of routes, from what the processes that make them tell. No clock."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable

from .._model.tallies import BUCKETS, quantile_s
from ..actors import SplitReport, TallyReport
from ..status import CallCounts

__all__ = ["MOST_PROCESSES", "Tallies"]

MOST_PROCESSES = 1024
"""Beyond them, the counts of one that has ended are dropped, or else the oldest ones."""


class Tallies:
    """The newest report of each process on each split.

    Reports hold all that a process has counted, so a lost one does no harm, and those of a process
    that has ended stay right.
    """

    def __init__(self) -> None:
        self._heard: dict[Hashable, dict[str, SplitReport]] = {}
        self._ended: set[Hashable] = set()
        self._complete: set[Hashable] = set()

    def report(self, process: Hashable, value: Iterable[SplitReport]) -> None:
        """Take the counts of a process, of all splits that it calls.

        Args:
            process: Unlike every other one, before or after it.
        """
        self._heard.pop(process, None)
        self._heard[process] = {each.key: each for each in value}
        self._complete.add(process)
        self._ended.discard(process)
        if len(self._heard) > MOST_PROCESSES:
            ended = (process for process in self._heard if process in self._ended)
            self._drop(next(ended, next(iter(self._heard))))

    def forget(self, process: Hashable) -> None:
        """Keep the counts of a process that has ended, as long as there is room for them."""
        if process in self._heard:
            self._ended.add(process)

    def holds(self, process: Hashable) -> bool:
        """Return whether the newest counts of a process are kept, of all splits."""
        return process in self._complete

    def keep(self, keys: Collection[str]) -> None:
        """Forget all but these splits."""
        for process, splits in list(self._heard.items()):
            kept = {key: report for key, report in splits.items() if key in keys}
            if kept:
                self._heard[process] = kept
                if len(kept) < len(splits):
                    self._complete.discard(process)
            else:
                self._drop(process)

    def since(self, key: str) -> float:
        """Return when counting began, in seconds since 1970; 0.0 for not yet."""
        return min((report.since for report in self._of(key)), default=0.0)

    def counts(self, key: str, target: str, *, shadow: bool) -> CallCounts:
        """Return what became of the calls of one target of a split, in all processes."""
        return _sum(
            tally
            for report in self._of(key)
            for tally in report.tallies
            if tally.target == target and tally.shadow is shadow
        )

    def _drop(self, process: Hashable) -> None:
        del self._heard[process]
        self._ended.discard(process)
        self._complete.discard(process)

    def _of(self, key: str) -> list[SplitReport]:
        return [splits[key] for splits in self._heard.values() if key in splits]


def _sum(tallies: Iterable[TallyReport]) -> CallCounts:
    requests = errors = dropped = 0
    total_s = 0.0
    buckets = [0] * BUCKETS
    for each in tallies:
        requests += each.requests
        errors += each.errors
        dropped += each.dropped
        total_s += each.total_s
        buckets = [one + other for one, other in zip(buckets, each.buckets, strict=True)]
    return CallCounts(
        requests,
        errors,
        dropped,
        total_s / requests if requests else 0.0,
        quantile_s(buckets, 0.5),
        quantile_s(buckets, 0.95),
        quantile_s(buckets, 0.99),
    )
