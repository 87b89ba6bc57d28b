"""Load reports of processes to the controller."""

from __future__ import annotations

from dataclasses import dataclass

from alacarte.types import DeploymentId

__all__ = ["LOADS_TOPIC", "LoadReport"]

LOADS_TOPIC = "alacarte.loads"
"""Topic of tuples of `LoadReport`, one report for each deployment with a changed load."""


@dataclass(frozen=True)
class LoadReport:
    """The load that one process puts on one deployment.

    Attributes:
        queued: Number of calls that now wait for a replica in the process.
        running: Number of the process's calls that are now in replicas.
        mean: Mean of the sum of both since the last report, weighted by time.
        high: Maximum of the sum since the last report.
        low: Minimum of the sum since the last report.
        over_s: Seconds since the last report.
    """

    deployment: DeploymentId
    queued: int
    running: int
    mean: float
    high: int
    low: int
    over_s: float
