"""Autoscaling policies of this package. Pure."""

from __future__ import annotations

from typing import Any

from .types import AutoscalingContext

__all__ = ["LoadPolicy", "default_autoscaling_policy"]


def default_autoscaling_policy(context: AutoscalingContext) -> tuple[float, dict[str, Any]]:
    """Return the number of replicas for `target_ongoing_requests` each, and an empty state.

    For policies that adjust the default. Name and signature are Ray Serve's.
    """
    return context.total_num_requests / context.config.target_ongoing_requests, {}


class LoadPolicy:
    """The policy `default`. A `ScalingPolicy`."""

    def decide(self, context: AutoscalingContext) -> float:
        """Return the number of replicas for `target_ongoing_requests` each under this load."""
        return default_autoscaling_policy(context)[0]
