"""What this package gives to alacarte: the policy that autoscaling begins with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alacarte.hookspecs import hookimpl
from alacarte.types import ApiName, ScalingPolicy, ScalingPolicyFactory

__all__ = ["register_api", "register_autoscaling_policies"]


@hookimpl
def register_api() -> list[ApiName]:
    """Add the default policy under Ray Serve's name, for policies that begin with it."""
    name = "default_autoscaling_policy"
    return [ApiName(f"autoscaling_policy.{name}", f"alacarte_autoscaling:{name}")]


@hookimpl
def register_autoscaling_policies() -> list[ScalingPolicyFactory]:
    """Add the policy `default`."""
    return [ScalingPolicyFactory("default", _default)]


def _default(kwargs: Mapping[str, Any]) -> ScalingPolicy:
    from .policies import LoadPolicy

    return LoadPolicy(**kwargs)
