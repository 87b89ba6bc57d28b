"""The values and contracts that plugins and alacarte exchange.

A *service* is an async function from `Call` to `Reply`; a *layer* takes a service and returns
one. Everything a request passes through, at the caller and in the replica, is made of these two.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from .config import AutoscalingConfig
    from .status import ServeStatus

__all__ = [
    "Address",
    "ApiName",
    "AutoscalingContext",
    "Buffer",
    "Call",
    "CallProtocol",
    "Command",
    "ConfigSection",
    "ConfigSections",
    "DeploymentId",
    "Entry",
    "Event",
    "Expansion",
    "Instance",
    "Layer",
    "Message",
    "NestedCalls",
    "NodeService",
    "NodeServiceSpec",
    "Pick",
    "PolicyFactory",
    "ReplicaLoad",
    "Reply",
    "Resource",
    "ResourceKind",
    "Resources",
    "Route",
    "RouteTable",
    "RoutingPolicy",
    "Runtime",
    "ScalingAnswer",
    "ScalingPolicy",
    "ScalingPolicyFactory",
    "Served",
    "Service",
    "ServicePlace",
    "Shed",
    "WAIT",
    "Wait",
]

Buffer = bytes | bytearray | memoryview
"""One contiguous run of bytes."""

Message = Sequence[Buffer]
"""The bytes of one message in pieces, written to the socket without being joined."""


class DeploymentId(NamedTuple):
    """A deployment's name within its application. `str()` gives `application#name`.

    Where calls are made, one without an application stands for the route of that name: each call
    takes one of its targets. Among a route's targets, one without a name stands for the ingress
    deployment of its application.
    """

    app: str
    name: str

    def __str__(self) -> str:
        return f"{self.app}#{self.name}" if self.app else f"route {self.name}"


# --- requests ---------------------------------------------------------------------------


class Cancellable(Protocol):
    """Work under way that can be given up."""

    def cancel(self) -> object:
        """Give it up. Nothing happens when it has ended."""


class NestedCalls:
    """The calls that a request has made and that have not ended, from any thread.

    When the request is cancelled, so are they. When it ends in another way, those that it did not
    wait for go on: they were left to themselves on purpose.

    Attributes:
        cancelled: The request was cancelled.
    """

    __slots__ = ("_calls", "_over", "cancelled")

    def __init__(self) -> None:
        self._calls: set[Cancellable] = set()
        self._over = False
        self.cancelled = False

    def add(self, call: Cancellable) -> None:
        """Take in a call, until `discard`."""
        if self._over:
            return
        self._calls.add(call)
        # Cancelled meanwhile, by another thread. On the loop it is the handler that cleans up:
        # it has seen the cancellation, and its further calls are made in spite of it.
        if self.cancelled and asyncio._get_running_loop() is None:
            call.cancel()

    def discard(self, call: Cancellable) -> None:
        """A call has ended."""
        self._calls.discard(call)

    def cancel(self) -> None:
        """The request was cancelled: cancel what it has called."""
        self.cancelled = True
        for call in list(self._calls):
            call.cancel()

    def close(self) -> None:
        """The request has ended: what still runs is on its own."""
        self._over = True
        self._calls.clear()


@dataclass(slots=True)
class Call:
    """One request on its way to a deployment.

    Attributes:
        protocol: Name of the `CallProtocol` that understands `payload`.
        method: The method asked for; `__call__` by default.
        payload: The first (often the only) message. At the caller in pieces; in the replica
            always exactly one contiguous piece.
        body: Messages that follow the first, as they are produced; None when there are none.
        streaming: The caller expects any number of messages, not one.
        request_id: Follows the request through every nested call.
        app: Application the request entered through.
        route: Route prefix it entered by, "" for handle calls.
        model_id: Multiplexed model asked for, "" for none.
        routing_key: What a routing policy may hash to be sticky, "" for none.
        deadline: On this process's `time.monotonic()`, None for no limit. It crosses the wire
            as remaining time.
        timeout_s: The time that was given to begin with, for errors to tell; None for no limit.
        beyond_limit: The replica takes it whatever it is working on, as it does a broadcast.
        idempotent: It may run more than once: when its replica is lost, it is sent elsewhere.
        alone: A conversation rather than a request: a route's shadows get no copy of it.
        nested: In the replica, what this request has called. A copy of a call has none of it.
    """

    protocol: str
    payload: Message
    method: str = "__call__"
    body: AsyncIterator[Message] | None = None
    streaming: bool = False
    request_id: str = ""
    app: str = ""
    route: str = ""
    model_id: str = ""
    routing_key: str = ""
    deadline: float | None = None
    timeout_s: float | None = None
    beyond_limit: bool = False
    idempotent: bool = False
    alone: bool = False
    nested: NestedCalls | None = field(default=None, init=False, compare=False, repr=False)


@dataclass(slots=True)
class Reply:
    """What came back: a first message, and the rest where the reply streams.

    The rest must be read to its end or closed (`aclose`), which cancels the work.
    """

    payload: Message
    rest: AsyncIterator[Message] | None = None


Service = Callable[[Call], Awaitable[Reply]]
Layer = Callable[[Service], Service]


class Entry(NamedTuple):
    """One callable of the user's object, looked at once.

    Attributes:
        function: Bound to the object, ready to be called.
        is_async: Calling it gives a coroutine; otherwise it belongs in the thread pool.
        is_generator: Calling it gives a generator, sync or async, and runs nothing yet.
    """

    function: Callable[..., Any]
    is_async: bool
    is_generator: bool


class Served(Protocol):
    """The user's object in a replica, as a `CallProtocol` sees it.

    Attributes:
        deployment: Whose it is.
        instance: The instance of the user's class, or the user's function itself.
    """

    deployment: DeploymentId
    instance: Any

    def entry(self, name: str) -> Entry:
        """Return the callable of that name.

        Raises:
            NotFoundError: There is none; the message lists those there are.
        """

    async def in_thread(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a sync function in the replica's thread pool, with this context's variables."""

    def iterate(self, generator: Any) -> AsyncIterator[Any]:
        """Iterate a sync or async generator of the user's, a sync one in the thread pool."""


class CallProtocol(Protocol):
    """How one kind of call becomes a call of the user's code, in the replica."""

    name: str

    def bind(self, served: Served) -> Service:
        """Return the service that runs calls of this protocol on `served`. Called once."""


# --- routing ----------------------------------------------------------------------------


_NONE: frozenset[str] = frozenset()


class ReplicaLoad:
    """One replica as this process's router sees it. Policies read it and change nothing.

    Attributes:
        replica_id: Unique within the deployment's life.
        node_id: The node it runs on.
        local: It runs on the same node as this process.
        max_ongoing: Requests it accepts at a time.
        in_flight: Requests of this process that it is working on.
        reported: Requests it was working on when it last told, everyone's included.
        blocked: It refused a request and has not announced a free slot since.
        latency_s: Moving average of the time a call took to its end, 0.0 before the first.
        advertised: What it says that it holds, by topic; see `ReplicaContext.advertise`.
    """

    __slots__ = (
        "advertised", "blocked", "in_flight", "latency_s", "local", "max_ongoing", "node_id",
        "replica_id", "reported",
    )  # fmt: skip

    def __init__(
        self, replica_id: str, *, max_ongoing: int = 5, node_id: str = "", local: bool = True
    ) -> None:
        self.replica_id = replica_id
        self.node_id = node_id
        self.local = local
        self.max_ongoing = max_ongoing
        self.in_flight = 0
        self.reported = 0
        self.blocked = False
        self.latency_s = 0.0
        self.advertised: Mapping[str, frozenset[str]] = {}

    @property
    def free(self) -> bool:
        """Whether it can take a request now, as far as this process knows."""
        return self.in_flight < self.max_ongoing and not self.blocked

    @property
    def model_ids(self) -> frozenset[str]:
        """Models it holds or is loading: what it advertises under `models`."""
        return self.advertised.get("models", _NONE)

    def __repr__(self) -> str:
        state = "blocked" if self.blocked else f"{self.in_flight}/{self.max_ongoing}"
        return f"<replica {self.replica_id} {state}>"


Pick = ReplicaLoad
"""A policy picks by returning one of the replicas it was shown."""


class Wait(NamedTuple):
    """Every replica is busy: keep the call in the queue until a slot frees."""


WAIT = Wait()


class Shed(NamedTuple):
    """Refuse the call now, with back pressure."""

    retry_after_s: float = 1.0


class RoutingPolicy(Protocol):
    """Chooses a replica for each call of one deployment, in one process.

    Every method runs on the router's event loop, must not block and does no I/O. One object
    serves one router, so it needs no lock.
    """

    def choose(self, call: Call, replicas: Sequence[ReplicaLoad]) -> Pick | Wait | Shed:
        """Return one of `replicas` that is `free`, `WAIT`, or a `Shed`.

        Args:
            call: The call to place. Its payload is not to be read.
            replicas: Those that are connected, never empty, in no particular order.
        """

    def started(self, call: Call, replica: ReplicaLoad) -> None:
        """A call was sent to this replica."""

    def finished(self, call: Call, replica: ReplicaLoad) -> None:
        """A call ended, successfully or with an error of the user's code."""

    def failed(self, call: Call, replica: ReplicaLoad) -> None:
        """A call was refused by the replica, lost with it, or given up while it was silent."""


@dataclass(frozen=True)
class PolicyFactory:
    """A routing policy under the name by which `DeploymentConfig.routing_policy` asks for it.

    Attributes:
        name: Unique among all installed plugins.
        create: Makes one policy for one router.
    """

    name: str
    create: Callable[[], RoutingPolicy]


# --- autoscaling ------------------------------------------------------------------------


@dataclass(frozen=True)
class AutoscalingContext:
    """What an autoscaling policy decides by: one deployment at one moment.

    Names are Ray Serve's. Times are in seconds since 1970.

    Attributes:
        deployment_id: Which deployment.
        deployment_name: Its name within its application.
        app_name: Its application.
        current_num_replicas: Replicas that run.
        target_num_replicas: Replicas that are wanted now.
        total_num_requests: Requests in progress and waiting, over `look_back_period_s`, made one
            number by `aggregation_function`.
        total_queued_requests: Requests that wait for a replica now.
        total_running_requests: Requests that replicas work on now.
        capacity_adjusted_min_replicas: `min_replicas`.
        capacity_adjusted_max_replicas: `max_replicas`.
        config: The deployment's `AutoscalingConfig`.
        current_time: Now.
        last_scale_up_time: When more were wanted last, None for not yet.
        last_scale_down_time: When fewer were wanted last, None for not yet.
        policy_state: What the policy returned as its state last time; empty at first, and again
            after the process that it runs in has ended.
    """

    deployment_id: DeploymentId
    deployment_name: str
    app_name: str
    current_num_replicas: int
    target_num_replicas: int
    total_num_requests: float
    total_queued_requests: int
    total_running_requests: int
    capacity_adjusted_min_replicas: int
    capacity_adjusted_max_replicas: int
    config: AutoscalingConfig
    current_time: float
    last_scale_up_time: float | None = None
    last_scale_down_time: float | None = None
    policy_state: Mapping[str, Any] = field(default_factory=dict)


ScalingAnswer = int | float | tuple[int | float, dict[str, Any]]
"""How many replicas a policy wants, a fraction for what lies between; or that and its state."""


class ScalingPolicy(Protocol):
    """Says how many replicas a deployment should have.

    Factors, delays and bounds of the `AutoscalingConfig` are applied to what it says, so a policy
    knows nothing of them. Where no replica runs and something waits, one is started unasked.
    """

    def decide(self, context: AutoscalingContext) -> ScalingAnswer:
        """Return how many replicas are wanted. Must not block: it runs in the controller."""


@dataclass(frozen=True)
class ScalingPolicyFactory:
    """An autoscaling policy under the name by which an `AutoscalingPolicy` asks for it.

    Attributes:
        name: Unique among all installed plugins; without ":" and ".", which import paths have.
        create: Makes one policy for one deployment, of the user's `policy_kwargs`. Whatever it
            raises refuses the deployment.
        period_s: How often to ask even while the load stays the same, for policies that decide by
            other things, such as the time of day. None for never.
    """

    name: str
    create: Callable[[Mapping[str, Any]], ScalingPolicy]
    period_s: float | None = None


@dataclass(frozen=True)
class Route:
    """Where requests of a path go.

    Attributes:
        prefix: Starts with "/" and does not end with one, except "/" itself. Matches at
            segment boundaries: "/a" matches "/a" and "/a/b", not "/ab". "" keeps the route off
            HTTP: only handles take it, by its name.
        app: Whose it is: the application, or what else its resource is called.
        targets: Deployments with their share of the traffic; shares sum to 1.
        methods: HTTP methods allowed, None for all.
        exact: Match the whole path only.
        shadows: Deployments that get a copy of this share of the requests, each for itself. What
            becomes of the copies, no caller learns.
        name: Handles call it by this name (`DeploymentId("", name)`), and what its targets answer
            is counted; "" for neither. Unique among routes.
        overrides: It goes in front of another resource's route of the same path, which would be
            refused otherwise; not of one with a name.
        versions: Of the code of its deployments. The controller says them, so that what is
            counted begins anew with a new version.
    """

    prefix: str
    app: str
    targets: Mapping[DeploymentId, float]
    methods: frozenset[str] | None = None
    exact: bool = False
    shadows: Mapping[DeploymentId, float] = field(default_factory=dict)
    name: str = ""
    overrides: bool = False
    versions: Mapping[DeploymentId, str] = field(default_factory=dict)

    @property
    def is_split(self) -> bool:
        """Whether its calls are more than calls of its only target."""
        return bool(self.name or self.shadows or len(self.targets) > 1)


@dataclass(frozen=True)
class RouteTable:
    """All routes at one moment. A higher version is newer.

    Attributes:
        starting: Applications that have not had a replica yet behind any of the routes, though they
            are to have some. Calls of them would wait for the first one.
    """

    version: int
    routes: tuple[Route, ...]
    starting: frozenset[str] = frozenset()


# --- the process ------------------------------------------------------------------------


class ConfigSections(Protocol):
    """The configuration this instance was started with, by section."""

    def section(self, name: str) -> Any:
        """Return the validated section a plugin registered under this name.

        Raises:
            ConfigError: No installed plugin registers such a section.
        """


class Runtime(Protocol):
    """What one process offers to the parts that make calls: handles, proxies, clients.

    One per process that calls deployments; in the local cluster, one per actor and one for
    the driver. Methods are to be called on `loop`, except `submit`, which is for other threads.
    """

    loop: asyncio.AbstractEventLoop
    config: ConfigSections
    node_id: str

    @property
    def place(self) -> ServicePlace | None:
        """Which process of a node service this is; None in a driver or a replica."""

    def service(self, deployment: DeploymentId) -> Service:
        """Return the way to that deployment: every caller layer, then the router.

        The same object is returned each time. Calls wait, bounded, while the deployment has
        no replica.
        """

    def is_plain(self, deployment: DeploymentId) -> bool:
        """Whether no plugin wraps the calls to that deployment.

        The coroutine of such a call, unless it has a deadline, does not depend on the task it
        runs in: it may be begun in one and carried on in another.
        """

    def broadcast(
        self, deployment: DeploymentId, call: Call
    ) -> Awaitable[list[Reply | BaseException]]:
        """Make a call at every replica that runs; return what each answered, or raised.

        It passes by the queue and by the layers of plugins, which stand around calls that go to
        one replica. `Call.beyond_limit` is for this.

        Raises (when awaited):
            DeploymentUnavailableError: No replica runs.
        """

    def replicas_of(self, deployment: DeploymentId) -> Sequence[ReplicaLoad]:
        """Return the replicas that calls from here may go to now; () before the first call."""

    def watch_routes(self, changed: Callable[[RouteTable], None]) -> None:
        """Call `changed` with the route table now, as soon as known, and at every change."""

    def route_service(
        self, route: Route, failed: Callable[[Reply], bool] = lambda reply: False
    ) -> Service:
        """Return the way to a route's targets.

        Each call takes one of them by its weight, always the same for the same `routing_key`;
        shadows get their copies, and what becomes of either is counted. For a route that is not
        `is_split`, the same as `service` of its only target.

        Args:
            failed: Tells of a reply whether it stands for an error, besides those that are raised.
        """

    def submit(self, work: Awaitable[Any]) -> Future[Any]:
        """Run `work` on the loop from another thread."""

    def deployments_of(self, app: str) -> tuple[DeploymentId, ...]:
        """Return an application's deployments, its ingress first; () for no such application.

        Asks the controller and blocks meanwhile, a few milliseconds. From any thread.
        """


class ServicePlace(Protocol):
    """Which process of a node service this is, and how it meets its siblings on the node.

    Attributes:
        index: From 0; a successor has its predecessor's.
        facts: What the last process that was up in this place, or else a sibling, returned from
            `start`. Empty the first time.
        authenticated: The cluster lets in nobody who does not know its token.
    """

    index: int
    facts: Mapping[str, str]
    authenticated: bool

    def new_socket(self) -> str:
        """Return a path for a Unix socket that siblings will find.

        It lies in a directory that only this user can enter. Remove it in `stop`.
        """

    def sibling_sockets(self) -> list[str]:
        """Return the sockets of other living processes of this service on this node."""


@runtime_checkable
class NodeService(Protocol):
    """A process of a plugin's own, on every node: an HTTP proxy, for example."""

    async def start(self, runtime: Runtime) -> Mapping[str, str]:
        """Begin to serve. Return facts for `serve.status`, such as the URL.

        The processes of one service on one node are asked one after the other.

        Raises:
            ConfigError: For what the user can mend, such as a port in use; it ends the start.
        """

    async def drain(self, limit_s: float, *, replaced: bool) -> None:
        """Stop taking new work; return when what was accepted is answered.

        Args:
            limit_s: What is not answered by then is lost: `stop` follows.
            replaced: A successor serves already, so there is no hurry. Otherwise this is the end
                of the service on this node.
        """

    async def stop(self) -> None:
        """Close everything at once."""


@dataclass(frozen=True)
class NodeServiceSpec:
    """A node service and how to make it.

    Attributes:
        name: Unique among all installed plugins.
        target: `"module:callable"`, called in the new process without arguments.
        serves_routes: It answers requests by the route table, so a deployed application is
            not ready before this service knows its route.
        enabled: Decides from the configuration whether to start it at all.
        head_only: Decides from the configuration whether the head node alone has one.
        processes: Decides from the configuration how many of them a node has.
    """

    name: str
    target: str
    serves_routes: bool = False
    enabled: Callable[[ConfigSections], bool] = lambda config: True
    head_only: Callable[[ConfigSections], bool] = lambda config: False
    processes: Callable[[ConfigSections], int] = lambda config: 1


@dataclass(frozen=True)
class Address:
    """Where a replica listens.

    Attributes:
        unix_path: Its Unix socket, usable on the same host only.
        host_id: Names that host.
        tcp: `(ip, port)`, None when it listens on no TCP port.
    """

    unix_path: str
    host_id: str
    tcp: tuple[str, int] | None = None


# --- registration -----------------------------------------------------------------------


@dataclass(frozen=True)
class ApiName:
    """A public name that a plugin adds to `alacarte.serve`.

    Attributes:
        name: As the user writes it after `serve.`; with a dot for a submodule's
            ("handle.DeploymentHandle").
        target: `"module:attribute"`, imported when first used.
    """

    name: str
    target: str


@dataclass(frozen=True)
class ConfigSection:
    """A plugin's part of the configuration.

    Attributes:
        name: The section's key in a configuration file, and its prefix in the environment:
            `http` is read from `ALACARTE_HTTP__PORT` and so on.
        target: `"module:attribute"` of a frozen pydantic model. A field that it declares with
            `repr=False` is a secret, and never stored.
        keyword: The argument of `serve.start` that takes it; `<name>_options` by default.
        foreground: Other defaults for a program that stays and shows what happens, such as
            `alacarte run`: `{"access_log": "text"}`.
    """

    name: str
    target: str
    keyword: str = ""
    foreground: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Command:
    """A subcommand of the `serve` program.

    Attributes:
        name: As typed after `serve`.
        help: One line.
        target: `"module:attribute"` of an object with `arguments(parser)`, which declares
            arguments on an `argparse` parser, and `run(options) -> int`, which returns the
            exit code.
    """

    name: str
    help: str
    target: str


@dataclass(frozen=True)
class Resource:
    """Something a user asked to exist. The controller stores it and understands none of it.

    Attributes:
        kind: Name of the `ResourceKind` that does.
        name: Unique within the kind.
        spec: Whatever the kind needs; must pickle, and must not hold user code by reference.
    """

    kind: str
    name: str
    spec: Any


@dataclass(frozen=True)
class Expansion:
    """What a resource comes down to: deployments that should exist, and routes to them."""

    deployments: tuple[Any, ...] = ()
    routes: tuple[Route, ...] = ()


Resources = Mapping[tuple[str, str], Resource]
"""All resources that are to exist, by kind and name."""


class ResourceKind(Protocol):
    """Gives meaning to resources of one kind. Pure: no I/O, no clock."""

    name: str

    def validate(self, resource: Resource, all_of_them: Resources) -> None:
        """Raise ConfigError when `resource` cannot exist among all that are to.

        Asked of every resource at every change, so also when another one is about to be deleted
        that this one needs. That no two have the same deployment, name or path is seen to.
        """

    def expand(self, resource: Resource) -> Expansion:
        """Return the deployments and routes that `resource` stands for."""


class Instance(Protocol):
    """The running instance, for packages that keep resources of their own.

    Every method blocks, may be called from any thread but the runtime's own, and waits for a
    controller that is just being restarted.
    """

    @property
    def runtime(self) -> Runtime:
        """For calls of this process."""

    @property
    def ended(self) -> bool:
        """The instance has ended, or this process has left it."""

    def wait_ended(self, timeout_s: float | None = None) -> bool:
        """Wait until the instance has ended, whoever ended it, or this process has left it.

        Returns:
            Whether that came about within the time; None waits without a limit.
        """

    def apply(
        self,
        *resources: Resource,
        replacing: Sequence[Resource | None] = (),
        wait: bool = True,
    ) -> None:
        """Make these exist, in place of those of their names; all of them, or none.

        Args:
            replacing: For each of them what is there now as far as the caller knows, None for
                nothing; empty for whatever is there. So nobody's change is undone unseen.
            wait: Return when their deployments run, and every proxy and this process know their
                routes.

        Raises:
            ConfigError: One of them cannot exist beside the others.
            ConflictError: Something else is there than was thought.
            DeployError: A deployment does not start; it is left as it is.
        """

    def delete(self, kind: str, name: str, *, wait: bool = True) -> bool:
        """Remove a resource; return whether there was one.

        Args:
            wait: Return when nothing of it runs any more, and no proxy knows its routes.

        Raises:
            ConfigError: Another resource needs it.
        """

    def resources(self, kind: str) -> list[Resource]:
        """Return all resources of a kind, in the order in which they were made.

        References stand in place of large byte strings, such as code: equal to them, and as good
        for `apply`.
        """

    def status(self) -> ServeStatus:
        """Return how everything is doing."""

    def make_handle(self, deployment: DeploymentId) -> Any:
        """Return a handle to a deployment, or to a route.

        Raises:
            PluginError: No installed package gives handles.
        """


@dataclass(frozen=True)
class Event:
    """Something changed. `kind` is one of `replica`, `deployment`, `routes`.

    Attributes:
        kind: What changed.
        name: Which one: a replica's or deployment's id, "" for routes.
        state: Its new state.
        message: More, for people; "" for nothing.
    """

    kind: str
    name: str
    state: str
    message: str = ""
