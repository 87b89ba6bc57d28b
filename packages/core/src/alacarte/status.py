"""Values of `serve.status()`, with Ray Serve's names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = [
    "ApplicationStatus",
    "ApplicationStatusOverview",
    "CallCounts",
    "DeploymentStatus",
    "DeploymentStatusOverview",
    "DeploymentStatusTrigger",
    "Failure",
    "PluginFailure",
    "ProxyStatus",
    "ReplicaOverview",
    "ReplicaState",
    "RouteCounts",
    "RouteStatusOverview",
    "ServeStatus",
    "ServiceStatusOverview",
    "TargetStatusOverview",
]

_HTTP = ("http://", "https://")


class ReplicaState(StrEnum):
    """State of a replica.

    Replicas answer requests while RUNNING, UPDATING (applying new settings) and PENDING_MIGRATION
    (their node is about to leave). A restarted controller still checks RECOVERING replicas.
    """

    STARTING = "STARTING"
    UPDATING = "UPDATING"
    RECOVERING = "RECOVERING"
    RUNNING = "RUNNING"
    PENDING_MIGRATION = "PENDING_MIGRATION"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"


class DeploymentStatus(StrEnum):
    """Status of a deployment."""

    UPDATING = "UPDATING"
    HEALTHY = "HEALTHY"
    UNHEALTHY = "UNHEALTHY"
    DEPLOY_FAILED = "DEPLOY_FAILED"
    UPSCALING = "UPSCALING"
    DOWNSCALING = "DOWNSCALING"


class DeploymentStatusTrigger(StrEnum):
    """Cause of a deployment's status."""

    UNSPECIFIED = "UNSPECIFIED"
    CONFIG_UPDATE_STARTED = "CONFIG_UPDATE_STARTED"
    CONFIG_UPDATE_COMPLETED = "CONFIG_UPDATE_COMPLETED"
    UPSCALE_COMPLETED = "UPSCALE_COMPLETED"
    DOWNSCALE_COMPLETED = "DOWNSCALE_COMPLETED"
    AUTOSCALING = "AUTOSCALING"
    REPLICA_STARTUP_FAILED = "REPLICA_STARTUP_FAILED"
    HEALTH_CHECK_FAILED = "HEALTH_CHECK_FAILED"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    DELETING = "DELETING"


class ApplicationStatus(StrEnum):
    """Status of an application: the worst status of its deployments."""

    NOT_STARTED = "NOT_STARTED"
    DEPLOYING = "DEPLOYING"
    DEPLOY_FAILED = "DEPLOY_FAILED"
    RUNNING = "RUNNING"
    UNHEALTHY = "UNHEALTHY"
    DELETING = "DELETING"


class ProxyStatus(StrEnum):
    """Status of a process of a node service, such as an HTTP proxy."""

    STARTING = "STARTING"
    HEALTHY = "HEALTHY"
    UNHEALTHY = "UNHEALTHY"
    DRAINING = "DRAINING"
    DRAINED = "DRAINED"


@dataclass(frozen=True)
class Failure:
    """A failure of a replica.

    Attributes:
        at: Time of the failure, in seconds since 1970.
        kind: `start`, `health`, `reconfigure`, `death`, or `cluster` for a cluster without answer.
        message: The failure, in one line.
        traceback: Traceback of the user's code, from the user's frame on; "" for none.
    """

    at: float
    replica_id: str
    kind: str
    message: str
    traceback: str = ""


@dataclass(frozen=True)
class ReplicaOverview:
    """Status of a replica.

    Attributes:
        since: Start of the current state, in seconds since 1970.
        version: Version of the replica's code.
        node_id: The replica's node, "" before it has a process.
        pid: Id of the replica's process, 0 before the replica listens.
        message: The replica's problem, or the condition that it waits for; "" for none.
    """

    replica_id: str
    state: ReplicaState
    since: float
    version: str
    node_id: str = ""
    pid: int = 0
    message: str = ""


@dataclass(frozen=True)
class DeploymentStatusOverview:
    """Status of a deployment.

    Attributes:
        replica_states: Number of replicas by state; states without replicas are omitted.
        message: The last failure, "" for none.
        since: Start of the current status, in seconds since 1970.
        waiting_for: The condition that the deployment waits for, "" for none.
        target_replicas: The desired number of replicas.
        replicas: The existing replicas, oldest first.
        recent_failures: The last ten failures, oldest first.
    """

    status: DeploymentStatus
    status_trigger: DeploymentStatusTrigger
    replica_states: dict[str, int] = field(default_factory=dict)
    message: str = ""
    since: float = 0.0
    waiting_for: str = ""
    target_replicas: int = 0
    replicas: tuple[ReplicaOverview, ...] = ()
    recent_failures: tuple[Failure, ...] = ()


@dataclass(frozen=True)
class ApplicationStatusOverview:
    """Status of an application.

    Attributes:
        last_deployed_time_s: Time of the last deployment, in seconds since 1970.
        route_prefix: Prefix of the application's HTTP route, None for an application without HTTP.
    """

    status: ApplicationStatus
    message: str = ""
    last_deployed_time_s: float = 0.0
    deployments: dict[str, DeploymentStatusOverview] = field(default_factory=dict)
    route_prefix: str | None = None


@dataclass(frozen=True)
class ServiceStatusOverview:
    """Status of a process of a node service.

    Attributes:
        index: Index among the service's processes on the node, from 0.
        url: URL of the process, "" for a service without a URL.
        message: The last failure, "" for none.
    """

    status: ProxyStatus
    service: str
    node_id: str
    url: str = ""
    message: str = ""
    index: int = 0


@dataclass(frozen=True)
class CallCounts:
    """Counts of the calls of one target of a route, over all processes.

    Processes report their counts within two seconds.

    Attributes:
        requests: Number of calls that have ended, except those that their callers cancelled.
        errors: Number of calls that failed; over HTTP, with a status of 500 or higher.
        dropped: Number of copies that were not, or not completely, sent to a shadow: too many were
            in flight, or the original ended before its body was complete.
        mean_s: Mean time until the reply began, in seconds, 0.0 before the first call. The
            quantiles are accurate to a tenth.
    """

    requests: int = 0
    errors: int = 0
    dropped: int = 0
    mean_s: float = 0.0
    p50_s: float = 0.0
    p95_s: float = 0.0
    p99_s: float = 0.0


@dataclass(frozen=True)
class RouteCounts:
    """Counts of the calls of one route, from a plugin.

    Attributes:
        since: Start of the counts, in seconds since 1970; 0.0 before the first report.
        targets: Counts of the calls by deployment, as `application#deployment`.
        shadows: Counts of the copies by deployment.
    """

    since: float = 0.0
    targets: Mapping[str, CallCounts] = field(default_factory=dict)
    shadows: Mapping[str, CallCounts] = field(default_factory=dict)


@dataclass(frozen=True)
class TargetStatusOverview:
    """Status of a target of a route, or of a shadow.

    Attributes:
        weight: The target's share of the requests; for a shadow, the share of copied requests.
        counts: Counts of the calls; None for a route without a split, or without a package that
            counts calls, such as alacarte-endpoints.
    """

    weight: float
    counts: CallCounts | None = None


@dataclass(frozen=True)
class RouteStatusOverview:
    """Status of a route.

    Attributes:
        app: Name of the application that owns the route.
        methods: Allowed HTTP methods, None for all.
        targets: Targets by application; by `application#deployment` where the target is not the
            ingress deployment.
        shadows: Shadows, with the same keys.
        since: Start of the counts, in seconds since 1970: the last change of the split, or of a
            target's code. 0.0 before the first report.
    """

    app: str
    methods: tuple[str, ...] | None = None
    targets: dict[str, TargetStatusOverview] = field(default_factory=dict)
    shadows: dict[str, TargetStatusOverview] = field(default_factory=dict)
    since: float = 0.0


@dataclass(frozen=True)
class PluginFailure:
    """A contained failure of a plugin.

    Attributes:
        plugin: Name of the plugin.
        hook: The hook, or the object that the hook returned: `wrap_caller`, `routing policy ewma`.
        subject: The subject of the hook's call, such as `deployment 'app#Model'`; "" for none.
        message: The error, in a line or two. The traceback is in the log of the process.
        count: Number of occurrences.
        at: Time of the last occurrence, in seconds since 1970.
        process: Name of the process.
    """

    plugin: str
    hook: str
    subject: str
    message: str
    count: int = 1
    at: float = 0.0
    process: str = ""


@dataclass(frozen=True)
class ServeStatus:
    """Status of the instance. Empty while no instance is running.

    Attributes:
        proxies: By node id, the node's first HTTP proxy process; on nodes without HTTP, the first
            process of another service that clients call.
        services: All processes of all node services, by `service/node/index`, with the suffix
            `/old` for a process that drains after a restart.
        applications: Applications by name.
        routes: Routes by path; routes without HTTP by name.
        plugin_failures: Failures of plugins in all processes, reported within two seconds.
    """

    proxies: dict[str, ServiceStatusOverview] = field(default_factory=dict)
    applications: dict[str, ApplicationStatusOverview] = field(default_factory=dict)
    services: dict[str, ServiceStatusOverview] = field(default_factory=dict)
    routes: dict[str, RouteStatusOverview] = field(default_factory=dict)
    plugin_failures: tuple[PluginFailure, ...] = ()

    @property
    def urls(self) -> tuple[str, ...]:
        """Base URLs of the proxies, sorted, without a trailing slash."""
        found = {proxy.url.rstrip("/") for proxy in self.proxies.values()}
        return tuple(sorted(url for url in found if url.startswith(_HTTP)))
