"""Hook specification of this package, for plugins with autoscaling policies."""

from __future__ import annotations

from alacarte.hookspecs import hookspec

from .types import ScalingPolicyFactory

__all__ = ["register_autoscaling_policies"]


@hookspec
def register_autoscaling_policies() -> list[ScalingPolicyFactory]:  # type: ignore[empty-body]
    """Return autoscaling policies by name. Controller.

    When it raises, the plugin is failed, and the controller has no scaler: deployments with
    `autoscaling_config` are refused.
    """
