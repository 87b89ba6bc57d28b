"""What the rest of alacarte needs of a cluster: actors by name, a durable map, and nodes.

An *actor* is an object of ours that lives elsewhere, on an event loop of its own, and whose async
methods can be called. On Ray it is a process, in the local cluster a thread.
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
    """The cluster did not answer in time. What was asked of it may be done, or not.

    Nobody's fault but the cluster's: actors that run go on, and whoever asked may ask again.
    """


@dataclass(frozen=True)
class Node:
    """A machine, or what Ray takes for one.

    Attributes:
        address: Its IP address. Nodes with the same address share a network stack.
        draining_until: When it is to go, in seconds since 1970; `inf` for no bound, None for a
            node that stays. The cluster places nothing new on a node that is to go.
        cores: That processes may use; 0 where it is not known, or does not matter.
    """

    node_id: str
    address: str
    is_head: bool = False
    draining_until: float | None = None
    cores: int = 0


@dataclass(frozen=True)
class ActorSpec:
    """An actor to start.

    Attributes:
        name: Unique in the cluster; by it the actor can be found again.
        target: `"module:Class"`, called in the new process with an `ActorContext` and `args`.
        args: Must pickle. Handed over in a call, once the process is up: a cluster stores what
            it starts processes with, and these may hold secrets. None for one that `restarts`.
            What holds a secret is an argument of its own, and short: a long one may be stored.
        title: What people call its process, in `ps` and in the log; "" for what its name says.
        options: Resources and environment, as Ray takes them.
        node_id: The node it must run on, "" for any.
        plugins: What the driver loaded; the actor loads the same or does not start.
        import_paths: Put in front of the new process's `sys.path`.
        restarts: The cluster starts it again, under its name, when it dies.
        group: Actors of one group may be kept apart,
        max_per_node: so that no more than this many of them share a node; 0 for any number.
        spread: Rather on a node that others do not fill already.
        on_head: On the head node, whichever that is; the others may leave at any time.
        avoid: Nodes that it should not run on, if there are others: they may be gone.
        bundles: Resources that are set aside together, and given back at its end. It lives in
            the first; what it starts itself finds room in all.
        bundle_strategy: Where they lie: `PACK`, `SPREAD`, `STRICT_PACK` or `STRICT_SPREAD`.
        bundle_labels: Labels of the nodes they lie on, by bundle; () for any.
        is_helper: A plugin's process: plugins hear of its start from whoever hosts it.
    """

    name: str
    target: str
    args: tuple[Any, ...] = field(default=(), repr=False)
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
    """What actors ask for beyond all that the cluster has, whether free or in use.

    Attributes:
        oversized: For each kind of actor that fits on no node, by its key: the resources that one
            actor asks for, and the most that a node has.
        totals: By resource: what all actors together ask for, and what the cluster has, where
            they ask for more.
        asks: What one actor of each kind asks for, by its key; empty where everything fits.
        grows: The cluster may add nodes by itself.
    """

    oversized: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)
    totals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    asks: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    grows: bool = False


@dataclass(frozen=True)
class ActorContext:
    """What an actor knows of its place.

    Attributes:
        cluster: The cluster it belongs to.
        name: Its own name.
        node: Where it runs.
        host_id: The same for processes that can reach each other's Unix sockets.
        socket_dir: For its sockets; entered by this user only.
        plugins: Loaded, and the same as the driver's.
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

    async def call(self, method: str, *args: Any) -> Any:
        """Call one of its methods and return the result.

        One that is not async is answered even while user code blocks the actor's loop.

        Raises:
            ActorDied: It is gone, or goes before it answers.
            Exception: What the method raised.
        """

    async def wait_closed(self) -> str:
        """Return when the actor is gone for good, with what is known of the reason."""

    def kill(self) -> None:
        """End it at once, without a word to it."""


class Cluster(Protocol):
    """Where actors live.

    Each method answers within seconds or raises `ClusterUnresponsive`. Only a start may take
    longer, while the cluster looks for free resources.

    Attributes:
        kind: `"ray"` or `"local"`.
    """

    kind: str

    @property
    def is_connected(self) -> bool:
        """Whether this process still has the connection that it had when this was made."""

    @property
    def node_id(self) -> str:
        """The node that this process runs on, as the cluster names it."""

    def is_reachable(self) -> bool:
        """Return within a second whether the cluster takes connections at all."""

    async def start_actor(self, spec: ActorSpec) -> Actor:
        """Start an actor and return when its process is up.

        Raises:
            ActorDied: It did not come up.
            ConfigError: The cluster does not accept its options.
            PluginError: It would run other plugins than the driver.
        """

    async def missing(self, spec: ActorSpec) -> dict[str, tuple[float, float]]:
        """Return what an actor lacks now, by resource: what it needs, and what the best node has.

        Empty where there is room for it. What is free is a moment old.
        """

    async def capacity(self, wanted: Mapping[str, tuple[ActorSpec, int]]) -> Capacity:
        """Compare what actors ask for with all that the cluster has, free or in use.

        Args:
            wanted: By any key: an actor, and how many of its kind.
        """

    async def find_actor(self, name: str) -> Actor | None:
        """Return the living actor of that name, None when there is none."""

    async def list_actors(self, prefix: str) -> list[str]:
        """Return the names of the living actors that begin with `prefix`."""

    async def end_process(self, node_id: str, pid: int) -> None:
        """End a process that has been killed in vain: one that is stopped does not hear of it."""

    async def release(self, prefix: str) -> None:
        """Give back what is still set aside for actors that are gone, by their names' beginning.

        For those whose starter ended before it could do so. Only their starter's successor may
        ask: it takes what belongs to a start in progress elsewhere for left over.
        """

    async def nodes(self) -> list[Node]:
        """Return the nodes that are up."""

    async def get(self, key: str) -> bytes | None:
        """Read from the cluster's durable map."""

    async def put(self, key: str, value: bytes) -> None:
        """Write to the cluster's durable map; it is stored when this returns."""

    async def delete(self, key: str) -> None:
        """Remove from the cluster's durable map; a missing key is fine."""

    async def keys(self, prefix: str) -> list[str]:
        """Return the keys of the cluster's durable map that begin with `prefix`."""
