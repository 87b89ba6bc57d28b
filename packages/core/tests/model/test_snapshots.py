"""Deltas between snapshots."""

from __future__ import annotations

import pickle
from dataclasses import replace
from functools import reduce
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from alacarte._model.snapshots import combine, delta
from alacarte.actors import DeploymentSnapshot, ReplicaEntry, SnapshotDelta
from alacarte.types import Address, DeploymentId

HERE = DeploymentId("shop", "model")
NAMES = st.sampled_from("abcdefgh")
ROOMS = st.integers(1, 3)


def entry(name: str, room: int = 1) -> ReplicaEntry:
    return ReplicaEntry(name, Address(f"/tmp/{name}.sock", "host"), "node", room)


def whole(version: int, replicas: dict[str, int], limit: int = 7) -> DeploymentSnapshot:
    entries = tuple(entry(name, room) for name, room in replicas.items())
    return DeploymentSnapshot(HERE, version, "up", "", entries, limit)


WORLDS = st.lists(
    st.tuples(st.dictionaries(NAMES, ROOMS), st.integers(0, 3)), min_size=2, max_size=8
).map(lambda worlds: [whole(n, *world) for n, world in enumerate(worlds)])


def applied(old: DeploymentSnapshot, change: SnapshotDelta) -> DeploymentSnapshot:
    """Apply a delta as a router does."""
    assert change.since == old.version
    replicas = {each.replica_id: each for each in old.replicas}
    for replica_id in change.removed:
        replicas.pop(replica_id, None)  # it came and went between two looks
    replicas.update({each.replica_id: each for each in change.changed})
    return replace(change.snapshot, replicas=tuple(replicas.values()))


def ordered(snapshot: DeploymentSnapshot) -> DeploymentSnapshot:
    entries = sorted(snapshot.replicas, key=lambda each: each.replica_id)
    return replace(snapshot, replicas=tuple(entries))


@given(WORLDS)
def test_a_delta_leads_from_one_to_the_other(worlds):
    """A delta turns any snapshot into any other, and holds no unchanged replica."""
    old, new = worlds[:2]
    change = delta(old, new)
    assert ordered(applied(old, change)) == ordered(new)
    assert not set(change.changed) & set(old.replicas)
    assert change.version == new.version


@given(WORLDS)
def test_deltas_in_a_row_become_one(worlds):
    """A combined delta has the effect of all, for a watcher that missed some."""
    deltas = [delta(old, new) for old, new in pairwise(worlds)]
    combined = combine(deltas)
    assert not {each.replica_id for each in combined.changed} & set(combined.removed)
    once = applied(worlds[0], combined)
    assert ordered(once) == ordered(reduce(applied, deltas, worlds[0])) == ordered(worlds[-1])


def test_one_replica_of_ten_thousand_costs_the_bytes_of_one():
    """The size of a delta does not grow with the number of unchanged replicas."""
    names = {f"replica-{n}": 1 for n in range(10_000)}
    old = whole(1, names)
    new = whole(2, {**names, "replica-77": 2})
    few = delta(whole(1, {"replica-77": 1}), whole(2, {"replica-77": 2}))
    assert len(pickle.dumps(delta(old, new))) == len(pickle.dumps(few)) < 1000
    assert len(pickle.dumps(new)) > 100 * len(pickle.dumps(few))
