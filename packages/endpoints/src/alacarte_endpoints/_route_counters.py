"""Counters of routes in the controller, summed over the calling processes. No clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from alacarte.status import CallCounts, RouteCounts
from alacarte.types import ProcessId, Route

from ._call_counter import RouteReport, TargetReport
from ._histogram import BUCKETS, quantile_s

__all__ = ["MAX_PROCESSES", "RouteCounters"]

MAX_PROCESSES = 1024
"""Maximum number of processes with counts. Beyond it, counts of an ended process are dropped
first, then the counts with the oldest report."""


class RouteCounters:
    """The latest report of each process for each route. A `ReportReceiver` and `RouteCounter`.

    Reports contain the total counts of a process, so a lost report does no harm, and the last
    report of an ended process stays valid.
    """

    def __init__(self) -> None:
        self._reported: dict[ProcessId, dict[str, RouteReport]] = {}
        self._ended: set[ProcessId] = set()
        self._complete: set[ProcessId] = set()

    def report(self, process: ProcessId, value: Iterable[RouteReport]) -> None:
        """Replace the counts of a process, for all routes that it calls."""
        self._reported.pop(process, None)
        self._reported[process] = {each.fingerprint: each for each in value}
        self._complete.add(process)
        self._ended.discard(process)
        if len(self._reported) > MAX_PROCESSES:
            ended = (process for process in self._reported if process in self._ended)
            self._drop(next(ended, next(iter(self._reported))))

    def forget(self, process: ProcessId) -> None:
        """Keep the counts of an ended process until the space is needed."""
        if process in self._reported:
            self._ended.add(process)

    def holds(self, process: ProcessId) -> bool:
        """Return whether the latest counts of a process are held for all its routes."""
        return process in self._complete

    def keep_routes(self, routes: Sequence[Route]) -> None:
        """Drop the counts of all routes but these."""
        wanted = {route.fingerprint for route in routes} if self._reported else set()
        for process, reports in list(self._reported.items()):
            kept = {key: report for key, report in reports.items() if key in wanted}
            if kept:
                self._reported[process] = kept
                if len(kept) < len(reports):
                    self._complete.discard(process)
            else:
                self._drop(process)

    def counts_of(self, route: Route) -> RouteCounts | None:
        """Return the counts over all processes; None for a route that is not counted."""
        if not route.is_split:
            return None
        key = route.fingerprint
        reports = [each[key] for each in self._reported.values() if key in each]
        return RouteCounts(
            min((report.since for report in reports), default=0.0),
            {str(target): _sum(reports, str(target), is_shadow=False) for target in route.targets},
            {str(target): _sum(reports, str(target), is_shadow=True) for target in route.shadows},
        )

    def _drop(self, process: ProcessId) -> None:
        del self._reported[process]
        self._ended.discard(process)
        self._complete.discard(process)


def _sum(reports: Iterable[RouteReport], target: str, *, is_shadow: bool) -> CallCounts:
    found: list[TargetReport] = [
        each
        for report in reports
        for each in report.targets
        if each.target == target and each.is_shadow is is_shadow
    ]
    requests = sum(each.requests for each in found)
    total_s = sum(each.total_s for each in found)
    buckets = [0] * BUCKETS
    for each in found:
        buckets = [one + other for one, other in zip(buckets, each.buckets, strict=True)]
    return CallCounts(
        requests,
        sum(each.errors for each in found),
        sum(each.dropped for each in found),
        total_s / requests if requests else 0.0,
        quantile_s(buckets, 0.5),
        quantile_s(buckets, 0.95),
        quantile_s(buckets, 0.99),
    )
