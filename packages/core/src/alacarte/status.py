"""What is seen of an instance: the values of `serve.status()`, named as Ray Serve names them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

__all__ = [
    "ApplicationStatus",
    "ApplicationStatusOverview",
    "DeploymentStatus",
    "DeploymentStatusOverview",
    "DeploymentStatusTrigger",
    "ProxyStatus",
    "ReplicaState",
    "ServeStatus",
    "ServiceStatusOverview",
]


class ReplicaState(StrEnum):
    """Where a replica is in its life."""

    STARTING = "STARTING"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"


class DeploymentStatus(StrEnum):
    """How a deployment is doing."""

    UPDATING = "UPDATING"
    HEALTHY = "HEALTHY"
    UNHEALTHY = "UNHEALTHY"
    DEPLOY_FAILED = "DEPLOY_FAILED"
    UPSCALING = "UPSCALING"
    DOWNSCALING = "DOWNSCALING"


class DeploymentStatusTrigger(StrEnum):
    """What brought a deployment into its status."""

    UNSPECIFIED = "UNSPECIFIED"
    CONFIG_UPDATE_STARTED = "CONFIG_UPDATE_STARTED"
    CONFIG_UPDATE_COMPLETED = "CONFIG_UPDATE_COMPLETED"
    UPSCALE_COMPLETED = "UPSCALE_COMPLETED"
    DOWNSCALE_COMPLETED = "DOWNSCALE_COMPLETED"
    REPLICA_STARTUP_FAILED = "REPLICA_STARTUP_FAILED"
    DELETING = "DELETING"


class ApplicationStatus(StrEnum):
    """How an application is doing: the worst of its deployments."""

    NOT_STARTED = "NOT_STARTED"
    DEPLOYING = "DEPLOYING"
    DEPLOY_FAILED = "DEPLOY_FAILED"
    RUNNING = "RUNNING"
    UNHEALTHY = "UNHEALTHY"
    DELETING = "DELETING"


class ProxyStatus(StrEnum):
    """How a node service, such as an HTTP proxy, is doing."""

    STARTING = "STARTING"
    HEALTHY = "HEALTHY"
    UNHEALTHY = "UNHEALTHY"
    DRAINING = "DRAINING"
    DRAINED = "DRAINED"


@dataclass(frozen=True)
class DeploymentStatusOverview:
    """One deployment.

    Attributes:
        replica_states: Number of replicas by state; states without any are left out.
        message: What went wrong last, "" for nothing.
    """

    status: DeploymentStatus
    status_trigger: DeploymentStatusTrigger
    replica_states: dict[str, int] = field(default_factory=dict)
    message: str = ""


@dataclass(frozen=True)
class ApplicationStatusOverview:
    """One application.

    Attributes:
        last_deployed_time_s: When it was deployed last, in seconds since 1970.
        route_prefix: Where HTTP reaches it, None for nowhere.
    """

    status: ApplicationStatus
    message: str = ""
    last_deployed_time_s: float = 0.0
    deployments: dict[str, DeploymentStatusOverview] = field(default_factory=dict)
    route_prefix: str | None = None


@dataclass(frozen=True)
class ServiceStatusOverview:
    """One process of a node service.

    Attributes:
        index: Which of the service's processes on its node, from 0.
        url: Where it listens, "" for what has no URL.
        message: What went wrong last, "" for nothing.
    """

    status: ProxyStatus
    service: str
    node_id: str
    url: str = ""
    message: str = ""
    index: int = 0


@dataclass(frozen=True)
class ServeStatus:
    """Everything. Empty where nothing runs.

    Attributes:
        proxies: By node id, of each node the first process of what answers requests there.
        services: Every process of every node service, by `service/node/index`; one that drains
            after a restart has `/old` after that.
        applications: By name.
    """

    proxies: dict[str, ServiceStatusOverview] = field(default_factory=dict)
    applications: dict[str, ApplicationStatusOverview] = field(default_factory=dict)
    services: dict[str, ServiceStatusOverview] = field(default_factory=dict)
