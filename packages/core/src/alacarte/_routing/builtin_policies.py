"""The routing policies that come with core. Pure: what they see is what they are given."""

from __future__ import annotations

import random
from collections.abc import Sequence
from hashlib import blake2b

from ..types import WAIT, Call, Pick, ReplicaLoad, Shed, Wait

__all__ = ["PowerOfTwo", "RoundRobin"]

_MAX_HOMES = 1000
"""Models that are being loaded, as far as this process knows."""


class PowerOfTwo:
    """Draw two replicas at random and take the one with fewer requests in flight.

    Near the balance of looking at all of them, for two looks (Mitzenmacher 2001). When both
    drawn are full, all are looked at, so that a free replica is never missed.

    A call for a model goes to a replica that holds it, as long as one of those is free; else it
    goes to one that is to load it.
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        self._random = (rng or random.Random()).random
        self._homes: dict[str, ReplicaLoad] = {}

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
        """Return the free replica that a call for this model should go to.

        Among those that hold the model, the one with the least load, and always the same one of
        equals, so that a copy nobody needs goes unused and is evicted. Without such, one of those
        with the fewest models, and the same one until it says that it loads the model. No call
        waits while a replica is free, so a model that is asked for often spreads.
        """
        free = [replica for replica in replicas if replica.free]
        holders = [replica for replica in free if model_id in replica.model_ids]
        if holders:
            if self._homes:
                self._homes.pop(model_id, None)
            if len(holders) == 1:
                return holders[0]
            return min(holders, key=lambda replica: (_load(replica), _rank(model_id, replica)))
        if not free:
            return WAIT
        home = self._homes.get(model_id)
        if home is None or home not in free:
            home = self._homes[model_id] = self._new_home(model_id, free)
            if len(self._homes) > _MAX_HOMES:
                del self._homes[next(iter(self._homes))]
        return home

    def _new_home(self, model_id: str, free: Sequence[ReplicaLoad]) -> ReplicaLoad:
        fewest = min(len(replica.model_ids) for replica in free)
        least = [replica for replica in free if len(replica.model_ids) == fewest]
        if not fewest:
            # All processes agree on this one (rendezvous hashing): first calls meet there.
            return min(least, key=lambda replica: _rank(model_id, replica))
        # At random, since of fixed homes one may be too small for its models and evict them in
        # turn for ever, while another holds what nobody asks for.
        return least[int(self._random() * len(least))]


class RoundRobin:
    """Take the replicas in turn, passing over those that are full."""

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
    text = f"{replica.replica_id}\0{model_id}"
    return blake2b(text.encode(errors="replace"), digest_size=8).digest()


def _load(replica: ReplicaLoad) -> int:
    """Requests it has: those it told of include ours, but ours may have come since."""
    return max(replica.in_flight, replica.reported)
