"""What processes that make calls tell the controller about them, for deployments that scale."""

from __future__ import annotations

from dataclasses import dataclass

from ..types import DeploymentId

__all__ = ["LoadReport"]


@dataclass(frozen=True)
class LoadReport:
    """What one process asks of one deployment.

    Attributes:
        queued: Calls that wait there for a replica, now.
        running: Calls of it that replicas are working on, now.
        mean: Of the sum of both since its last report, weighted by time.
        high: The highest that sum was.
        low: The lowest.
        over_s: How long ago the last report was.
    """

    deployment: DeploymentId
    queued: int
    running: int
    mean: float
    high: int
    low: int
    over_s: float
