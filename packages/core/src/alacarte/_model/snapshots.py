"""What the controller tells the processes that make calls: the world at one version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..types import Address, DeploymentId

__all__ = [
    "ROUTES_KEY",
    "DeploymentSnapshot",
    "ReplicaEntry",
    "SnapshotDelta",
    "WatchRequest",
    "combine",
    "delta",
    "deployment_key",
]

ROUTES_KEY = "routes"


def deployment_key(deployment: DeploymentId) -> str:
    """Return the key under which a deployment's snapshots are watched."""
    return f"deployment:{deployment}"


@dataclass(frozen=True)
class WatchRequest:
    """A process's question for everything newer than the versions it has applied.

    Attributes:
        watcher: Name of the process, for whoever waits until it has applied a version.
        process: Told apart from every other process, those of the same name included.
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
        state: `up` while replicas are there or expected; `failed` when none will come unless
            it is deployed anew; `absent` when there is no such deployment.
        reason: Why it is failed or absent.
        max_queued: Calls that may wait in one process, -1 for any number.
        policy: Name of the routing policy.
        follow_load: Routers report their load; see `LoadReport`.
    """

    id: DeploymentId
    version: int
    state: Literal["up", "failed", "absent"]
    reason: str = ""
    replicas: tuple[ReplicaEntry, ...] = ()
    max_queued: int = 1024
    policy: str = "power_of_two"
    follow_load: bool = False


@dataclass(frozen=True)
class SnapshotDelta:
    """What has changed from one version of a deployment to another.

    Its size is that of the change: one replica among ten thousand costs the bytes of one.

    Attributes:
        since: The version it begins at.
        head: The new snapshot without its replicas.
        changed: Replicas that are new, or not what they were.
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


def delta(old: DeploymentSnapshot, new: DeploymentSnapshot) -> SnapshotDelta:
    """Return what turns `old` into `new`, but for the order of the replicas."""
    if old.replicas is new.replicas:
        return SnapshotDelta(old.version, replace(new, replicas=()), (), ())
    before = {entry.replica_id: entry for entry in old.replicas}
    # Mostly the very same entries, and those are told apart without a look into them.
    changed = tuple(
        entry
        for entry in new.replicas
        if (was := before.pop(entry.replica_id, None)) is not entry and was != entry
    )
    return SnapshotDelta(old.version, replace(new, replicas=()), changed, tuple(before))


def combine(deltas: Sequence[SnapshotDelta]) -> SnapshotDelta:
    """Return one delta that does what these do, one after the other. There is at least one."""
    changed: dict[str, ReplicaEntry] = {}
    removed: dict[str, None] = {}
    for each in deltas:
        for replica_id in each.removed:
            changed.pop(replica_id, None)
            removed[replica_id] = None
        for entry in each.changed:
            changed[entry.replica_id] = entry
            removed.pop(entry.replica_id, None)
    return SnapshotDelta(deltas[0].since, deltas[-1].head, (*changed.values(),), (*removed,))
