"""Snapshots: the replicas and routes that the controller publishes to processes that make calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from ..types import Address, DeploymentId, Route

__all__ = [
    "RoutedDeployment",
    "DeploymentSnapshot",
    "ReplicaEntry",
    "Snapshot",
    "SnapshotDelta",
    "TableSnapshot",
    "WatchRequest",
]


@dataclass(frozen=True)
class WatchRequest:
    """A process's request for snapshots newer than the versions that it has applied.

    Attributes:
        watcher: Name of the process. The controller tracks applied versions by this name.
        process: Unique id of the process, among processes of the same name, too.
        number: Increases with each request of the process; a newer request ends the older one.
        known: The applied version of every watched key, -1 for none.
    """

    watcher: str
    process: str
    number: int
    known: Mapping[str, int]


@dataclass(frozen=True)
class ReplicaEntry:
    """A replica that accepts calls."""

    replica_id: str
    address: Address
    node_id: str
    max_ongoing: int


@dataclass(frozen=True)
class DeploymentSnapshot:
    """A deployment's replicas at one version.

    Attributes:
        state: `up` while replicas run or are expected; `failed` when no replica will start until
            the next deploy; `absent` for a deployment that does not exist.
        reason: Reason of the state `failed` or `absent`.
        max_queued: Limit of queued calls in one process, -1 for no limit.
        policy: Name of the routing policy.
        policy_parameters: Parameters of the routing policy, as the user wrote them.
        follow_load: The deployment autoscales: routers let plugins watch its load.
        code_version: Version of the target's code and constructor arguments, "" for an absent
            deployment.
        options: Plugins' options of the deployment: plain values by section.
    """

    id: DeploymentId
    version: int
    state: Literal["up", "failed", "absent"]
    reason: str = ""
    replicas: tuple[ReplicaEntry, ...] = ()
    max_queued: int = 1024
    policy: str = "power_of_two"
    follow_load: bool = False
    code_version: str = ""
    options: Mapping[str, object] = field(default_factory=dict)
    policy_parameters: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class SnapshotDelta:
    """The changes from one version of a deployment to another.

    Its size grows with the number of changed replicas only.

    Attributes:
        since: The version before the changes.
        snapshot: The new snapshot without its replicas.
        changed: Replicas that are new or differ.
        removed: Ids of removed replicas.
    """

    since: int
    snapshot: DeploymentSnapshot
    changed: tuple[ReplicaEntry, ...]
    removed: tuple[str, ...]

    @property
    def version(self) -> int:
        """The version after the changes."""
        return self.snapshot.version


class RoutedDeployment(NamedTuple):
    """A deployment of a `TableSnapshot`: the target of a route, or an ingress.

    Attributes:
        code_version: Version of the code and constructor arguments.
        options: Plugins' options of the deployment: plain values by section.
    """

    code_version: str
    options: Mapping[str, object]


@dataclass(frozen=True)
class TableSnapshot:
    """The routes and the applications at one version.

    Attributes:
        routes: All routes.
        starting: See `RouteTable.starting`.
        ingresses: Ingress deployment of each application.
        deployments: The deployments behind routes and the ingresses of applications.
    """

    version: int
    routes: tuple[Route, ...]
    starting: frozenset[str] = frozenset()
    ingresses: Mapping[str, DeploymentId] = field(default_factory=dict)
    deployments: Mapping[DeploymentId, RoutedDeployment] = field(default_factory=dict)


Snapshot: TypeAlias = TableSnapshot | DeploymentSnapshot | SnapshotDelta
"""The newest value of a key that a process watches. Each has a `version`."""
