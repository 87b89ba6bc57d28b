"""What core itself contributes, through the hooks everyone uses."""

from __future__ import annotations

from .hookspecs import hookimpl
from .layers import deadline, drop_expired
from .types import (
    ApiName,
    ConfigSection,
    DeploymentInfo,
    Layer,
    LayerStage,
    PolicyFactory,
    ReportReceiver,
    ReportTopic,
    ResourceKind,
    StagedLayer,
)

__all__: list[str] = []

_MAX_REPORT_BYTES = 16 * 1024 * 1024
"""About 50,000 targets of split routes."""


@hookimpl
def register_api() -> list[ApiName]:
    return [
        ApiName("config.DeploymentConfig", "alacarte.config:DeploymentConfig"),
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

    return [
        PolicyFactory("power_of_two", lambda place: PowerOfTwo()),
        PolicyFactory("round_robin", lambda place: RoundRobin()),
    ]


@hookimpl
def register_layer_stages() -> list[LayerStage]:
    return [LayerStage("deadline", after="observation")]


@hookimpl
def wrap_caller(deployment: DeploymentInfo) -> StagedLayer[Layer]:
    return StagedLayer("deadline", deadline(deployment.id), task_free=True)


@hookimpl
def wrap_replica(deployment: DeploymentInfo) -> StagedLayer[Layer]:
    return StagedLayer("deadline", drop_expired(deployment.id), task_free=True)


@hookimpl
def register_report_topics() -> list[ReportTopic]:
    import pickle

    from .actors import SPLITS_TOPIC

    def create_tallies() -> ReportReceiver:
        from ._control.tallies import Tallies  # the controller alone needs the receivers

        return Tallies()

    return [
        ReportTopic(SPLITS_TOPIC, create_tallies, pickle.dumps, pickle.loads, _MAX_REPORT_BYTES)
    ]
