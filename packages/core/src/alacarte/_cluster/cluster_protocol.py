"""The `Cluster` protocol: actors found by name, a durable map, and nodes.

An *actor* is an object of alacarte's with an event loop of its own; other processes call its async
methods. On Ray an actor is a process, in the local cluster a thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from .._plugins import PluginRecord, Plugins
from ..actors import ActorDied, NotStarted
from ..errors import ServeError

__all__ = [
    "Actor",
    "ActorContext",
    "ActorDied",
    "ActorSpec",
    "Capacity",
    "Cluster",
    "ClusterUnresponsive",
    "Node",
    "NotStarted",
]


class ClusterUnresponsive(ServeError):
    """The cluster did not answer in time. It may still carry out the request.

    Running actors are not affected, and the caller may retry.
    """


@dataclass(frozen=True)
class Node:
    """A machine of the cluster; on Ray, a Ray node.

    Attributes:
        address: The IP address. Nodes with the same address share a network stack.
        draining_until: When the node goes away, in seconds since 1970; `inf` for no bound, None
            for a node that stays. The cluster places no new actors on a draining node.
        cores: Cores that processes may use; 0 where unknown or irrelevant.
    """

    node_id: str
    address: str
    is_head: bool = False
    draining_until: float | None = None
    cores: int = 0


@dataclass(frozen=True)
class ActorSpec:
    """The specification of an actor to start.

    Attributes:
        name: Unique in the cluster; `Cluster.find_actor` takes this name.
        target: `"module:Class"`, called in the new process with an `ActorContext` and `args`.
        args: Must pickle. Sent in a call once the process is up: a cluster stores the arguments
            that it starts processes with, and `args` may hold secrets. Pass each secret as an
            argument of its own, and keep that short: a cluster may store long arguments, too.
            Empty for an actor that `restarts`.
        title: Title of the process in `ps` and in the log; "" to derive the title from `name`.
        options: Resources and environment, as Ray's actor options.
        node_id: The node that the actor must run on, "" for any.
        plugins: The driver's loaded plugins; the actor loads the same or does not start.
        import_paths: Prepended to the new process's `sys.path`.
        restarts: The cluster restarts the actor, under its name, when it dies.
        group: The actors that `max_per_node` counts together.
        max_per_node: How many actors of the group may share a node; 0 for any number.
        spread: Prefer a node that other actors do not fill.
        on_head: Run on the head node; other nodes may leave at any time.
        avoid: Nodes to avoid where there are others, because they may be gone.
        bundles: Resources that are reserved together, and released when the actor ends. The
            actor runs in the first bundle; the actors and tasks that it starts may use all.
        bundle_strategy: Placement of the bundles: `PACK`, `SPREAD`, `STRICT_PACK` or
            `STRICT_SPREAD`.
        bundle_labels: Label selectors of the bundles' nodes, by bundle; () for any node.
        is_helper: A plugin's process: the host of the actor calls `on_process` for it.
    """

    name: str
    target: str
    args: tuple[object, ...] = field(default=(), repr=False)
    title: str = ""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    node_id: str = ""
    plugins: tuple[PluginRecord, ...] = ()
    import_paths: tuple[str, ...] = ()
    restarts: bool = False
    group: str = ""
    max_per_node: int = 0
    spread: bool = False
    on_head: bool = False
    avoid: tuple[str, ...] = ()
    bundles: tuple[Mapping[str, float], ...] = ()
    bundle_strategy: str = "PACK"
    bundle_labels: tuple[Mapping[str, str], ...] = ()
    is_helper: bool = False


@dataclass(frozen=True)
class Capacity:
    """Resources that actors request beyond the cluster's total, whether free or in use.

    Attributes:
        oversized: By key of each kind of actor that fits on no node: the resources that one
            actor requests, and the largest amount on any node.
        totals: By resource: the sum of all requests, and the cluster's total, where the sum is
            larger.
        requests: By key: the resources that one actor of each kind requests; empty where all fit.
        is_autoscaled: Whether an autoscaler may add nodes to the cluster.
    """

    oversized: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)
    totals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    requests: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    is_autoscaled: bool = False


@dataclass(frozen=True)
class ActorContext:
    """The surroundings of an actor: its cluster, node, directories and plugins.

    Attributes:
        cluster: The cluster that runs the actor.
        name: The actor's name.
        node: The node that the actor runs on.
        host_id: Equal for processes that can reach each other's Unix sockets.
        socket_dir: Directory for the actor's sockets, closed to other users.
        plugins: The loaded plugins, the same as the driver's.
    """

    cluster: Cluster
    name: str
    node: Node
    host_id: str
    socket_dir: str
    plugins: Plugins


class Actor(Protocol):
    """A reference to an actor, usable on any event loop."""

    name: str

    async def call(self, method: str, *args: object) -> Any:
        """Call a method of the actor and return its result.

        Methods that are not async answer even while user code blocks the actor's loop.

        Raises:
            ActorDied: The actor is gone, or dies before it answers.
            Exception: The method raised it.
        """

    async def wait_closed(self) -> str:
        """Wait until the actor has ended for good; return the reason, as far as it is known."""

    def kill(self) -> None:
        """Kill the actor at once, without notice."""


class Cluster(Protocol):
    """A cluster that starts, finds and kills actors.

    Each method answers within seconds or raises `ClusterUnresponsive`. Only `start_actor` may take
    longer, while the cluster looks for free resources.

    Attributes:
        kind: `"ray"` or `"local"`.
    """

    kind: str

    @property
    def is_connected(self) -> bool:
        """Whether this process still has the connection that this object was made with."""

    @property
    def node_id(self) -> str:
        """The cluster's id of the node that this process runs on."""

    def is_reachable(self) -> bool:
        """Return within a second whether the cluster accepts connections."""

    async def start_actor(self, spec: ActorSpec) -> Actor:
        """Start an actor and return once its process is up.

        Raises:
            ActorDied: The process did not come up.
            ConfigError: The cluster does not accept the actor's options.
            PluginError: The actor would run other plugins than the driver.
        """

    async def missing(self, spec: ActorSpec) -> dict[str, tuple[float, float]]:
        """Return the resources that an actor lacks now, each with two amounts.

        The amounts are the need, and the free amount on the best node, a moment ago. Empty when
        the actor fits.
        """

    async def capacity(self, demand: Mapping[str, tuple[ActorSpec, int]]) -> Capacity:
        """Compare the resources that actors request with the cluster's total, free or in use.

        Args:
            demand: By any key: an actor, and the number of actors like it.
        """

    async def find_actor(self, name: str) -> Actor | None:
        """Return the living actor with this name, or None."""

    async def list_actors(self, prefix: str) -> list[str]:
        """Return the living actors' names that begin with `prefix`."""

    async def end_process(self, node_id: str, pid: int) -> None:
        """End the process of an actor that survived `Actor.kill`, as a stopped process does."""

    async def release(self, prefix: str) -> None:
        """Release the bundles of actors that are gone, by the prefix of their names.

        For actors whose starter ended before it could release them. Only the successor of that
        starter may call this: the bundles of a start in progress elsewhere count as leftovers.
        """

    async def nodes(self) -> list[Node]:
        """Return the nodes that are up."""

    async def get(self, key: str) -> bytes | None:
        """Return a value of the cluster's durable map, None for a missing key."""

    async def put(self, key: str, value: bytes) -> None:
        """Store a value in the cluster's durable map; the value is durable on return."""

    async def delete(self, key: str) -> None:
        """Delete a key of the cluster's durable map; a missing key is no error."""

    async def keys(self, prefix: str) -> list[str]:
        """Return the durable map's keys that begin with `prefix`."""
