"""Policies: from a deployment's load to how many replicas are wanted. Pure."""

from __future__ import annotations

from typing import Any

from .types import AutoscalingContext

__all__ = ["LoadPolicy", "default_autoscaling_policy"]


def default_autoscaling_policy(context: AutoscalingContext) -> tuple[float, dict[str, Any]]:
    """Return as many replicas as have `target_ongoing_requests` each under this load; no state.

    For policies of your own that begin with it. Name and form are Ray Serve's.
    """
    return context.total_num_requests / context.config.target_ongoing_requests, {}


class LoadPolicy:
    """The policy `default`. A `ScalingPolicy`."""

    def decide(self, context: AutoscalingContext) -> float:
        """Return as many replicas as have `target_ongoing_requests` each under this load."""
        return default_autoscaling_policy(context)[0]
