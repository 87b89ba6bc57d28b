"""Reports of the load that processes put on deployments, to the controller."""

from __future__ import annotations

from dataclasses import dataclass

from alacarte.types import DeploymentId

__all__ = ["LOADS_TOPIC", "LoadReport"]

LOADS_TOPIC = "alacarte.loads"
"""Topic of tuples of `LoadReport`: one for each deployment whose load has changed."""


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
