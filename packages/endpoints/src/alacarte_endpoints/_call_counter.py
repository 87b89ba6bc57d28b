"""The counters of one target in one process, and their values as a report to the controller."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ._histogram import BUCKETS, bucket_of

__all__ = ["CallCounter", "RouteReport", "TargetReport", "decode_reports", "encode_reports"]


@dataclass(frozen=True)
class TargetReport:
    """The outcomes of one process's calls of one target, since it took the route over.

    Attributes:
        target: `str()` of the deployment.
        is_shadow: The target got copies.
        requests: Calls that have ended, except those that their callers gave up.
        errors: Those of them that failed.
        dropped: Copies that were not sent, or not to the end.
        total_s: The sum of their times.
        buckets: A histogram of their times, by `bucket_of`.
    """

    target: str
    is_shadow: bool
    requests: int
    errors: int
    dropped: int
    total_s: float
    buckets: tuple[int, ...]


@dataclass(frozen=True)
class RouteReport:
    """The outcomes of one process's calls by one version of a route.

    Attributes:
        fingerprint: Of the route.
        since: When the process took the route over, in seconds since 1970.
    """

    fingerprint: str
    since: float
    targets: tuple[TargetReport, ...]


def encode_reports(reports: Iterable[RouteReport]) -> bytes:
    """Return the bytes of a report topic's value."""
    values = [
        (
            each.fingerprint,
            each.since,
            [
                (
                    target.target,
                    target.is_shadow,
                    target.requests,
                    target.errors,
                    target.dropped,
                    target.total_s,
                    target.buckets,
                )
                for target in each.targets
            ],
        )
        for each in reports
    ]
    return json.dumps(values, separators=(",", ":")).encode()


def decode_reports(packed: bytes) -> list[RouteReport]:
    """Return the reports that `encode_reports` was given."""
    return [
        RouteReport(fingerprint, since, tuple(map(_target_report, targets)))
        for fingerprint, since, targets in json.loads(packed)
    ]


def _target_report(values: Sequence[Any]) -> TargetReport:
    target, is_shadow, requests, errors, dropped, total_s, buckets = values
    return TargetReport(target, is_shadow, requests, errors, dropped, total_s, tuple(buckets))


class CallCounter:
    """Counts the calls of one target in one process.

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
        """A number that grows with every change of the counters."""
        return self._requests + self.dropped

    def note(self, seconds: float, failed: bool) -> None:
        """Count a call that has ended.

        Args:
            seconds: From its beginning to that of its reply.
        """
        self._requests += 1
        if failed:
            self._errors += 1
        self._total_s += seconds
        self._buckets[bucket_of(seconds)] += 1

    def report(self, target: str, *, is_shadow: bool) -> TargetReport:
        """Return the counters as a value."""
        return TargetReport(
            target,
            is_shadow,
            self._requests,
            self._errors,
            self.dropped,
            self._total_s,
            tuple(self._buckets),
        )
