"""Hook implementations of core, registered as those of any plugin."""

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
    from ._model.kinds import ApplicationKind  # imports pydantic, which few processes need

    return [ApplicationKind()]


@hookimpl
def register_routing_policies() -> list[PolicyFactory]:
    from ._routing.builtin_policies import PowerOfTwo, RoundRobin

    return [
        PolicyFactory("power_of_two", lambda context: PowerOfTwo()),
        PolicyFactory("round_robin", lambda context: RoundRobin()),
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

    from .actors import PLUGIN_FAILURES_TOPIC

    def create() -> ReportReceiver:
        from ._control.reported_failures import ReportedFailures  # the controller alone needs it

        return ReportedFailures()

    return [ReportTopic(PLUGIN_FAILURES_TOPIC, create, pickle.dumps, pickle.loads)]
