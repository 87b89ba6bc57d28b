"""Autoscaling without a cluster, for programs that try out policies and configurations.

    follower = LoadFollower(DeploymentId("app", "Model"), AutoscalingConfig(max_replicas=8), 1, 0.0)
    follower.report("a process", LoadReport(follower.deployment, 12, 4, 16.0, 16, 16, 0.0), 0.0)
    decision, state = parse_decision(policy.decide(follower.context(0.0)))
    follower.apply(decision, 0.0)
    follower.number, follower.next_wakeup(0.0)

The controller does the same on the clock of its event loop.
"""

from __future__ import annotations

from ._load_follower import LoadFollower
from ._load_reports import LoadReport
from ._scaling_rule import InvalidDecision, parse_decision

__all__ = ["LoadFollower", "LoadReport", "InvalidDecision", "parse_decision"]
