"""Reports of the processes that make calls to the controller."""

from __future__ import annotations

from dataclasses import dataclass

from ..types import DeploymentId

__all__ = [
    "FORGET_S",
    "HEARTBEAT_S",
    "LOADS_TOPIC",
    "SPLITS_TOPIC",
    "LoadReport",
    "SplitReport",
    "TallyReport",
]

LOADS_TOPIC = "alacarte.loads"
"""Topic of tuples of `LoadReport`: one for each deployment whose load has changed."""
SPLITS_TOPIC = "alacarte.splits"
"""Topic of tuples of `SplitReport`: one for each split route that the process has called."""
HEARTBEAT_S = 5.0
"""Seconds between two messages of a process that has reported anything."""
FORGET_S = 3 * HEARTBEAT_S
"""Seconds of silence after which a process has ended."""


@dataclass(frozen=True)
class LoadReport:
    """The load that one process puts on one deployment.

    Attributes:
        queued: Calls that wait there for a replica, now.
        running: Calls of it that replicas are working on, now.
        mean: Of the sum of both since its last report, weighted by time.
        high: The highest that sum was.
        low: The lowest.
        over_s: Seconds since the last report.
    """

    deployment: DeploymentId
    queued: int
    running: int
    mean: float
    high: int
    low: int
    over_s: float


@dataclass(frozen=True)
class TallyReport:
    """The outcomes of one process's calls of one target, since it took the route over.

    Attributes:
        target: `str()` of the deployment.
        shadow: The target got copies.
        requests: Calls that have ended, but for those that their callers gave up.
        errors: Those of them that failed.
        dropped: Copies that were not sent, or not to the end.
        total_s: The sum of their times.
        buckets: A histogram of their times, by `bucket_of`.
    """

    target: str
    shadow: bool
    requests: int
    errors: int
    dropped: int
    total_s: float
    buckets: tuple[int, ...]


@dataclass(frozen=True)
class SplitReport:
    """All of one route.

    Attributes:
        key: A digest of the route with its weights.
        since: When the process took it over, in seconds since 1970.
    """

    key: str
    since: float
    tallies: tuple[TallyReport, ...]
