"""What core itself contributes, through the hooks everyone uses."""

from __future__ import annotations

from .hookspecs import hookimpl
from .types import ApiName, ConfigSection, PolicyFactory, ResourceKind

__all__: list[str] = []


@hookimpl
def register_api() -> list[ApiName]:
    return [
        ApiName("config.DeploymentConfig", "alacarte.config:DeploymentConfig"),
        ApiName("config.AutoscalingConfig", "alacarte.config:AutoscalingConfig"),
        ApiName("config.AutoscalingContext", "alacarte.types:AutoscalingContext"),
        ApiName("config.AutoscalingPolicy", "alacarte.config:AutoscalingPolicy"),
    ]


@hookimpl
def register_config() -> list[ConfigSection]:
    return [ConfigSection("cluster", "alacarte.config:ClusterOptions")]


@hookimpl
def register_resources() -> list[ResourceKind]:
    from ._model.kinds import ApplicationKind  # pydantic, which not every process needs

    return [ApplicationKind()]


@hookimpl
def register_routing_policies() -> list[PolicyFactory]:
    from ._routing.policies import PowerOfTwo, RoundRobin

    return [PolicyFactory("power_of_two", PowerOfTwo), PolicyFactory("round_robin", RoundRobin)]
