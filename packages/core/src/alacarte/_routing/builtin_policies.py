"""The routing policies of core. Pure: a choice depends on the arguments only."""

from __future__ import annotations

import random
from collections.abc import Sequence
from hashlib import blake2b

from ..types import WAIT, Call, Pick, ReplicaLoad, Shed, Wait

__all__ = ["PowerOfTwo", "RoundRobin"]

_MAX_ASSIGNED = 1000
"""Most models with a replica assigned, before the replica advertises the model."""


class PowerOfTwo:
    """Draw two replicas at random and choose the one with fewer requests in flight.

    Near the balance of comparing all replicas, for two comparisons (Mitzenmacher 2001). When both
    are full, all replicas are compared, so a free replica is always found.

    A call for a model goes to a free replica that holds the model; without such a replica, to one
    that will load the model.
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        self._random = (rng or random.Random()).random
        self._assigned: dict[str, ReplicaLoad] = {}

    def choose(self, call: Call, replicas: Sequence[ReplicaLoad]) -> Pick | Wait | Shed:
        count = len(replicas)
        if count == 1:
            only = replicas[0]
            return only if only.free else WAIT
        if call.model_id:
            return self._for_model(call.model_id, replicas)
        first = int(self._random() * count)
        second = (first + 1 + int(self._random() * (count - 1))) % count
        one, two = replicas[first], replicas[second]
        if two.free and (not one.free or _load(two) < _load(one)):
            return two
        if one.free:
            return one
        free = [replica for replica in replicas if replica.free]
        return min(free, key=_load) if free else WAIT

    def _for_model(self, model_id: str, replicas: Sequence[ReplicaLoad]) -> Pick | Wait:
        """Return the free replica for a call of this model, or WAIT.

        Of the replicas that hold the model, the least loaded; ties go to the same replica each
        time, so an unneeded copy goes unused and is evicted. Without a holder, one of the replicas
        with the fewest models, and the same replica until it advertises the model. No call waits
        while a replica is free, so a busy model spreads over several replicas.
        """
        free = [replica for replica in replicas if replica.free]
        holders = [replica for replica in free if model_id in replica.model_ids]
        if holders:
            if self._assigned:
                self._assigned.pop(model_id, None)
            if len(holders) == 1:
                return holders[0]
            return min(holders, key=lambda replica: (_load(replica), _rank(model_id, replica)))
        if not free:
            return WAIT
        assigned = self._assigned.get(model_id)
        if assigned is None or assigned not in free:
            assigned = self._assigned[model_id] = self._assign(model_id, free)
            if len(self._assigned) > _MAX_ASSIGNED:
                del self._assigned[next(iter(self._assigned))]
        return assigned

    def _assign(self, model_id: str, free: Sequence[ReplicaLoad]) -> ReplicaLoad:
        fewest = min(len(replica.model_ids) for replica in free)
        least = [replica for replica in free if len(replica.model_ids) == fewest]
        if not fewest:
            # Rendezvous hashing: all processes send the first calls for a model to one replica.
            return min(least, key=lambda replica: _rank(model_id, replica))
        # At random: with a fixed assignment one replica could evict its busy models in turn while
        # another holds unused ones.
        return least[int(self._random() * len(least))]


class RoundRobin:
    """Choose the replicas in turn, and skip full ones."""

    def __init__(self) -> None:
        self._next = 0

    def choose(self, call: Call, replicas: Sequence[ReplicaLoad]) -> Pick | Wait | Shed:
        for _ in replicas:
            replica = replicas[self._next % len(replicas)]
            self._next += 1
            if replica.free:
                return replica
        return WAIT


def _rank(model_id: str, replica: ReplicaLoad) -> bytes:
    key = f"{replica.replica_id}\0{model_id}"
    return blake2b(key.encode(errors="replace"), digest_size=8).digest()


def _load(replica: ReplicaLoad) -> int:
    """Return the requests at a replica: its own count, or this process's if that is higher."""
    return max(replica.in_flight, replica.reported)
