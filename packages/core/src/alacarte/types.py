"""The values and contracts that plugins and alacarte exchange.

A *service* is an async function from `Call` to `Reply`; a *layer* takes a service and returns
one. Everything a request passes through, at the caller and in the replica, is made of these two.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

__all__ = [
    "Address",
    "ApiName",
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
    "Layer",
    "Message",
    "NodeService",
    "NodeServiceSpec",
    "Pick",
    "PolicyFactory",
    "ReplicaLoad",
    "Reply",
    "Resource",
    "ResourceKind",
    "Route",
    "RouteTable",
    "RoutingPolicy",
    "Runtime",
    "Served",
    "Service",
    "Shed",
    "WAIT",
    "Wait",
]

Buffer = bytes | bytearray | memoryview
"""One contiguous run of bytes."""

Message = Sequence[Buffer]
"""The bytes of one message in pieces, written to the socket without being joined."""


class DeploymentId(NamedTuple):
    """A deployment's name within its application. `str()` gives `application#name`."""

    app: str
    name: str

    def __str__(self) -> str:
        return f"{self.app}#{self.name}"


# --- requests ---------------------------------------------------------------------------


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
        model_ids: Multiplexed models it holds.
    """

    __slots__ = (
        "blocked", "in_flight", "latency_s", "local", "max_ongoing", "model_ids", "node_id",
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
        self.model_ids: frozenset[str] = frozenset()

    @property
    def free(self) -> bool:
        """Whether it can take a request now, as far as this process knows."""
        return self.in_flight < self.max_ongoing and not self.blocked

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
        """A call was refused by the replica, or lost with it."""


@dataclass(frozen=True)
class PolicyFactory:
    """A routing policy under the name by which `DeploymentConfig.routing_policy` asks for it.

    Attributes:
        name: Unique among all installed plugins.
        create: Makes one policy for one router.
    """

    name: str
    create: Callable[[], RoutingPolicy]


@dataclass(frozen=True)
class Route:
    """Where requests of a path go.

    Attributes:
        prefix: Starts with "/" and does not end with one, except "/" itself. Matches at
            segment boundaries: "/a" matches "/a" and "/a/b", not "/ab".
        app: The application that owns the route.
        targets: Deployments with their share of the traffic; shares sum to 1.
        methods: HTTP methods allowed, None for all.
        exact: Match the whole path only.
    """

    prefix: str
    app: str
    targets: Mapping[DeploymentId, float]
    methods: frozenset[str] | None = None
    exact: bool = False


@dataclass(frozen=True)
class RouteTable:
    """All routes at one moment. A higher version is newer."""

    version: int
    routes: tuple[Route, ...]


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

    def watch_routes(self, changed: Callable[[RouteTable], None]) -> None:
        """Call `changed` with the route table now, as soon as known, and at every change."""

    def submit(self, work: Awaitable[Any]) -> Future[Any]:
        """Run `work` on the loop from another thread."""

    def deployments_of(self, app: str) -> tuple[DeploymentId, ...]:
        """Return an application's deployments, its ingress first; () for no such application.

        Asks the controller and blocks meanwhile, a few milliseconds. From any thread.
        """


@runtime_checkable
class NodeService(Protocol):
    """A process of a plugin's own, one on every node: an HTTP proxy, for example."""

    async def start(self, runtime: Runtime) -> Mapping[str, str]:
        """Begin to serve. Return facts for `serve.status`, such as the URL.

        Raises:
            ConfigError: For what the user can mend, such as a port in use; it ends the start.
        """

    async def drain(self) -> None:
        """Stop taking new work; return when what was accepted is answered."""

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
    """

    name: str
    target: str
    serves_routes: bool = False
    enabled: Callable[[ConfigSections], bool] = lambda config: True
    head_only: Callable[[ConfigSections], bool] = lambda config: False


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
        target: `"module:attribute"` of a frozen pydantic model.
        keyword: The argument of `serve.start` that takes it; `<name>_options` by default.
    """

    name: str
    target: str
    keyword: str = ""


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


class ResourceKind(Protocol):
    """Gives meaning to resources of one kind. Pure: no I/O, no clock."""

    name: str

    def validate(self, resource: Resource, others: Sequence[Resource]) -> None:
        """Raise ConfigError when `resource` cannot exist beside `others` (every kind)."""

    def expand(self, resource: Resource) -> Expansion:
        """Return the deployments and routes that `resource` stands for."""


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
