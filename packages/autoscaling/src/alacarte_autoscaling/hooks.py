"""Hook implementations of this package: the scaler, load reports and the default policy."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from alacarte.hookspecs import hookimpl
from alacarte.types import (
    ApiName,
    CallerLoad,
    ConfigSection,
    DeploymentInfo,
    LoadWatch,
    ReportReceiver,
    ReportTopic,
    Runtime,
    Scaler,
    ScalerContext,
)

from .types import ScalingPolicy, ScalingPolicyFactory

__all__ = [
    "make_scaler",
    "register_api",
    "register_autoscaling_policies",
    "register_config",
    "register_hooks",
    "register_report_topics",
    "watch_load",
]

_MAX_REPORT_BYTES = 16 * 1024 * 1024
"""About 50,000 deployments."""


@hookimpl
def register_hooks() -> list[ModuleType]:
    """Return the hook for policies of other plugins."""
    from . import hookspecs

    return [hookspecs]


@hookimpl
def register_api() -> list[ApiName]:
    """Return the models of the option and the default policy, with Ray Serve's names."""
    policy = "default_autoscaling_policy"
    return [
        ApiName(f"autoscaling_policy.{policy}", f"alacarte_autoscaling:{policy}"),
        ApiName("config.AutoscalingConfig", "alacarte_autoscaling.config:AutoscalingConfig"),
        ApiName("config.AutoscalingContext", "alacarte_autoscaling.types:AutoscalingContext"),
        ApiName("config.AutoscalingPolicy", "alacarte_autoscaling.config:AutoscalingPolicy"),
    ]


@hookimpl
def register_config() -> list[ConfigSection]:
    """Return the option `autoscaling_config` of deployments."""
    return [
        ConfigSection(
            "autoscaling",
            "alacarte_autoscaling.config:AutoscalingConfig",
            "autoscaling_config",
            scope="deployment",
            prepare="alacarte_autoscaling._policy_packing:prepare",
            auto={"min_replicas": 1, "max_replicas": 100, "target_ongoing_requests": 2.0},
        )
    ]


@hookimpl
def register_autoscaling_policies() -> list[ScalingPolicyFactory]:
    """Return the policy `default`."""
    return [ScalingPolicyFactory("default", _default)]


@hookimpl
def register_report_topics() -> list[ReportTopic]:
    """Return the topic of load reports."""
    import pickle

    from ._load_reports import LOADS_TOPIC

    return [ReportTopic(LOADS_TOPIC, _intake, pickle.dumps, pickle.loads, _MAX_REPORT_BYTES)]


@hookimpl
def watch_load(deployment: DeploymentInfo, load: CallerLoad, runtime: Runtime) -> LoadWatch:
    """Return a watch that reports the load of a deployment to the controller."""
    from ._load_watch import MeteredLoad, reporter_of  # only for calls of autoscaled deployments

    return MeteredLoad(deployment.id, load, reporter_of(runtime))


@hookimpl
def make_scaler(context: ScalerContext) -> Scaler:
    """Return the scaler of deployments with `autoscaling_config`."""
    from ._scaler import LoadScaler  # the controller alone needs it

    return LoadScaler(context)


def _default(kwargs: Mapping[str, Any]) -> ScalingPolicy:
    from .policies import LoadPolicy

    return LoadPolicy(**kwargs)


def _intake() -> ReportReceiver:
    from ._load_intake import LoadIntake  # as above

    return LoadIntake()
