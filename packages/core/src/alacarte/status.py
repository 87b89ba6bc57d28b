"""What is seen of an instance: the values of `serve.status()`, named as Ray Serve names them."""

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
    """Where a replica is in its life.

    RUNNING, UPDATING (it takes over new settings) and PENDING_MIGRATION (its node is about to
    leave) answer requests. RECOVERING was found by a new controller and is being asked.
    """

    STARTING = "STARTING"
    UPDATING = "UPDATING"
    RECOVERING = "RECOVERING"
    RUNNING = "RUNNING"
    PENDING_MIGRATION = "PENDING_MIGRATION"
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
    AUTOSCALING = "AUTOSCALING"
    REPLICA_STARTUP_FAILED = "REPLICA_STARTUP_FAILED"
    HEALTH_CHECK_FAILED = "HEALTH_CHECK_FAILED"
    INTERNAL_ERROR = "INTERNAL_ERROR"
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
class Failure:
    """Something that went wrong with a replica.

    Attributes:
        at: When, in seconds since 1970.
        kind: `start`, `health`, `reconfigure`, `death`, or `cluster` where that did not answer.
        message: What happened, in one line.
        traceback: Of the user's code, its own frame first; "" where there is none.
    """

    at: float
    replica_id: str
    kind: str
    message: str
    traceback: str = ""


@dataclass(frozen=True)
class ReplicaOverview:
    """One replica.

    Attributes:
        since: When it entered its state, in seconds since 1970.
        version: Of the code it runs; that of the deployment's newest replicas is the wanted one.
        node_id: Where it runs, "" before it has a process.
        pid: Of its process, 0 before it listens.
        message: What is wrong with it, or what it waits for; "" for nothing.
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
    """One deployment.

    Attributes:
        replica_states: Number of replicas by state; states without any are left out.
        message: What went wrong last, "" for nothing.
        since: When it came into its status, in seconds since 1970.
        waiting_for: What must happen next for it to be as it should, "" for nothing.
        target_replicas: How many replicas it should have now.
        replicas: Those it has, oldest first.
        recent_failures: The last ten, oldest first.
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
class CallCounts:
    """What became of the calls that one target of a route was given, in all processes together.

    A process tells of its calls within a second or two.

    Attributes:
        requests: Those that have ended, but for what the caller gave up.
        errors: Of these, what ended with an error: over HTTP, a status from 500.
        dropped: Copies that a shadow was not sent, or not to the end: too many were under way, or
            the original broke off or was answered before all of it had come.
        mean_s: Time to the beginning of the answer, in seconds; the quantiles are right to a
            tenth. 0.0 before the first.
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
    """What became of the calls by one route, as a plugin counts them.

    Attributes:
        since: When counting began, in seconds since 1970; 0.0 for not yet.
        targets: By deployment, as `application#deployment`.
        shadows: Of the copies, likewise.
    """

    since: float = 0.0
    targets: Mapping[str, CallCounts] = field(default_factory=dict)
    shadows: Mapping[str, CallCounts] = field(default_factory=dict)


@dataclass(frozen=True)
class TargetStatusOverview:
    """One target of a route, or one of its shadows.

    Attributes:
        weight: Its share of the requests; of a shadow, the share that it gets copies of.
        counts: None for a route that is not counted: one without a split, or where no package
            counts. alacarte-endpoints does.
    """

    weight: float
    counts: CallCounts | None = None


@dataclass(frozen=True)
class RouteStatusOverview:
    """Where the requests of one path go, and what became of them.

    Attributes:
        app: Whose it is.
        methods: HTTP methods allowed, None for all.
        targets: By application, or by `application#deployment` where it is not the ingress.
        shadows: The same.
        since: What is counted has ended since then, in seconds since 1970: when the split or
            the code of a target was changed last. 0.0 where nothing is counted yet.
    """

    app: str
    methods: tuple[str, ...] | None = None
    targets: dict[str, TargetStatusOverview] = field(default_factory=dict)
    shadows: dict[str, TargetStatusOverview] = field(default_factory=dict)
    since: float = 0.0


@dataclass(frozen=True)
class PluginFailure:
    """Something that a plugin failed at, and that was contained.

    Attributes:
        plugin: Its name.
        hook: The hook, or the thing that it gave: `wrap_caller`, `routing policy ewma`.
        subject: What the plugin was asked for, such as `deployment 'app#Model'`; "" for nothing
            in particular.
        message: The error, in a line or two; its traceback is in the log of the process.
        count: How often.
        at: When last, in seconds since 1970.
        process: Where: the name of the process.
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
    """Everything. Empty where nothing runs.

    Attributes:
        proxies: By node id, of each node the first process of the HTTP proxy; where there is none,
            of another service that clients call.
        services: Every process of every node service, by `service/node/index`; one that drains
            after a restart has `/old` after that.
        applications: By name.
        routes: By path; by name where HTTP does not reach them.
        plugin_failures: Of all processes: a process reports its own within a second or two.
    """

    proxies: dict[str, ServiceStatusOverview] = field(default_factory=dict)
    applications: dict[str, ApplicationStatusOverview] = field(default_factory=dict)
    services: dict[str, ServiceStatusOverview] = field(default_factory=dict)
    routes: dict[str, RouteStatusOverview] = field(default_factory=dict)
    plugin_failures: tuple[PluginFailure, ...] = ()

    @property
    def urls(self) -> tuple[str, ...]:
        """URLs that a route's prefix continues, sorted, without a slash at their ends."""
        found = {proxy.url.rstrip("/") for proxy in self.proxies.values()}
        return tuple(sorted(url for url in found if url.startswith(_HTTP)))
