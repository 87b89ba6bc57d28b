"""What the controller tells the processes that make calls: the world at one version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..actors import DeploymentSnapshot, ReplicaEntry, SnapshotDelta
from ..types import DeploymentId

__all__ = [
    "ROUTES_KEY",
    "combine",
    "delta",
    "deployment_key",
]

ROUTES_KEY = "routes"


def deployment_key(deployment: DeploymentId) -> str:
    """Return the key under which a deployment's snapshots are watched."""
    return f"deployment:{deployment}"


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
