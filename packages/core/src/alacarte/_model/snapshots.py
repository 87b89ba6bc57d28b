"""Deltas of the snapshots that the controller publishes to calling processes. Pure."""

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
    """Return the key for watching a deployment's snapshots."""
    return f"deployment:{deployment}"


def delta(old: DeploymentSnapshot, new: DeploymentSnapshot) -> SnapshotDelta:
    """Return the delta from `old` to `new`, regardless of the order of replicas."""
    if old.replicas is new.replicas:
        return SnapshotDelta(old.version, replace(new, replicas=()), (), ())
    before = {entry.replica_id: entry for entry in old.replicas}
    # Most entries are the same objects, which `is` compares faster than `==`.
    changed = tuple(
        entry
        for entry in new.replicas
        if (was := before.pop(entry.replica_id, None)) is not entry and was != entry
    )
    return SnapshotDelta(old.version, replace(new, replicas=()), changed, tuple(before))


def combine(deltas: Sequence[SnapshotDelta]) -> SnapshotDelta:
    """Return one delta with the combined effect of successive deltas, at least one."""
    changed: dict[str, ReplicaEntry] = {}
    removed: dict[str, None] = {}
    for each in deltas:
        for replica_id in each.removed:
            changed.pop(replica_id, None)
            removed[replica_id] = None
        for entry in each.changed:
            changed[entry.replica_id] = entry
            removed.pop(entry.replica_id, None)
    return SnapshotDelta(deltas[0].since, deltas[-1].snapshot, (*changed.values(),), (*removed,))
