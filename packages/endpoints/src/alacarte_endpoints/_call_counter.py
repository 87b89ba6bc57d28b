"""Counters of the calls of one target in one process, and their reports to the controller."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ._histogram import BUCKETS, bucket_of

__all__ = ["CallCounter", "RouteReport", "TargetReport", "decode_reports", "encode_reports"]


@dataclass(frozen=True)
class TargetReport:
    """Counts of one process's calls of one target, since the process got the route's version.

    Attributes:
        target: `str()` of the deployment.
        is_shadow: Whether the calls are copies for a shadow.
        requests: Number of calls that have ended, except calls that their callers cancelled.
        errors: Number of calls that failed.
        dropped: Number of copies that were not, or not completely, sent.
        total_s: Sum of the times until the replies began.
        buckets: Histogram of these times, by `bucket_of`.
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
    """Counts of one process's calls by one version of a route.

    Attributes:
        fingerprint: Fingerprint of the route.
        since: Time when the process got this version, in seconds since 1970.
        targets: Counts of the targets and shadows.
    """

    fingerprint: str
    since: float
    targets: tuple[TargetReport, ...]


def encode_reports(reports: Iterable[RouteReport]) -> bytes:
    """Encode reports as the value of a report topic."""
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
    """Decode the reports that `encode_reports` encoded."""
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
        dropped: Number of copies that were not, or not completely, sent.
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
        """Number of changes of the counters."""
        return self._requests + self.dropped

    def note(self, seconds: float, failed: bool) -> None:
        """Count a call that has ended.

        Args:
            seconds: Time until the reply began.
            failed: Whether the call failed.
        """
        self._requests += 1
        if failed:
            self._errors += 1
        self._total_s += seconds
        self._buckets[bucket_of(seconds)] += 1

    def report(self, target: str, *, is_shadow: bool) -> TargetReport:
        """Return a report of the counters."""
        return TargetReport(
            target,
            is_shadow,
            self._requests,
            self._errors,
            self.dropped,
            self._total_s,
            tuple(self._buckets),
        )
