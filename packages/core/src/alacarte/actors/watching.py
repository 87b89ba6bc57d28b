"""Snapshots: the replicas and routes that the controller publishes to processes that make calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

from ..types import Address, DeploymentId, Route

__all__ = [
    "DeploymentHead",
    "DeploymentSnapshot",
    "ReplicaEntry",
    "Snapshot",
    "SnapshotDelta",
    "TableSnapshot",
    "WatchRequest",
]


@dataclass(frozen=True)
class WatchRequest:
    """A process's question for everything newer than the versions it has applied.

    Attributes:
        watcher: Name of the process, for whoever waits until it has applied a version.
        process: Unlike that of every other process, those of the same name included.
        number: Grows with each question of the process; a newer question ends the older one.
        known: The version that it has applied, -1 for none, of every key that it follows.
    """

    watcher: str
    process: str
    number: int
    known: Mapping[str, int]


@dataclass(frozen=True)
class ReplicaEntry:
    """A replica that is ready for calls."""

    replica_id: str
    address: Address
    node_id: str
    max_ongoing: int


@dataclass(frozen=True)
class DeploymentSnapshot:
    """A deployment's replicas at one version.

    Attributes:
        state: `up` while replicas run or are expected; `failed` when none will come unless the
            deployment is deployed again; `absent` when there is no such deployment.
        reason: Why the deployment is failed or absent.
        max_queued: Calls that may wait in one process, -1 for any number.
        policy: Name of the routing policy.
        policy_parameters: Given to that policy, as the user wrote them.
        follow_load: Its number of replicas follows the load: routers ask plugins to watch it.
        code_version: Of the deployment that is wanted: other code, other replicas. "" where there
            is none.
        options: Those that plugins give deployments: plain values by section.
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
    options: Mapping[str, Any] = field(default_factory=dict)
    policy_parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SnapshotDelta:
    """The changes from one version of a deployment to another.

    Its size is that of the change: one replica among ten thousand costs the bytes of one.

    Attributes:
        since: The version it begins at.
        head: The new snapshot without its replicas.
        changed: Replicas that are new or differ.
        removed: Ids of those that are gone.
    """

    since: int
    head: DeploymentSnapshot
    changed: tuple[ReplicaEntry, ...]
    removed: tuple[str, ...]

    @property
    def version(self) -> int:
        """The version it leads to."""
        return self.head.version


class DeploymentHead(NamedTuple):
    """What tables say of a deployment.

    Attributes:
        code_version: Of its code and arguments.
        options: Those that plugins give deployments: plain values by section.
    """

    code_version: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class TableSnapshot:
    """The routes and the applications at one version.

    Attributes:
        routes: All of them.
        starting: As `RouteTable.starting`.
        ingresses: The deployment that takes the requests of each application.
        deployments: Those that routes and applications lead to.
    """

    version: int
    routes: tuple[Route, ...]
    starting: frozenset[str] = frozenset()
    ingresses: Mapping[str, DeploymentId] = field(default_factory=dict)
    deployments: Mapping[DeploymentId, DeploymentHead] = field(default_factory=dict)


Snapshot: TypeAlias = TableSnapshot | DeploymentSnapshot | SnapshotDelta
"""The newest value of a key that a process watches. Each has a `version`."""
