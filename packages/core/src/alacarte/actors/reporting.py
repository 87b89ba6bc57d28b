"""Reports of the processes that make calls to the controller."""

from __future__ import annotations

from dataclasses import dataclass

from ..types import DeploymentId

__all__ = [
    "FORGET_S",
    "HEARTBEAT_S",
    "LOADS_TOPIC",
    "PLUGIN_FAILURES_TOPIC",
    "LoadReport",
]

LOADS_TOPIC = "alacarte.loads"
"""Topic of tuples of `LoadReport`: one for each deployment whose load has changed."""
PLUGIN_FAILURES_TOPIC = "alacarte.plugin_failures"
"""Topic of tuples of `PluginFailure`: one for each kind of failure in the process."""
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
