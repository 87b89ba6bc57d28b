"""The routing policies that come with core. Pure: what they see is what they are given."""

from __future__ import annotations

import random
from collections.abc import Sequence

from ..types import WAIT, Call, Pick, ReplicaLoad, Shed, Wait

__all__ = ["PowerOfTwo", "RoundRobin"]


class _Stateless:
    """Policies that need not be told how calls end."""

    def started(self, call: Call, replica: ReplicaLoad) -> None:
        """Nothing to remember."""

    def finished(self, call: Call, replica: ReplicaLoad) -> None:
        """Nothing to remember."""

    def failed(self, call: Call, replica: ReplicaLoad) -> None:
        """Nothing to remember."""


class PowerOfTwo(_Stateless):
    """Draw two replicas at random and take the one with fewer requests in flight.

    Near the balance of looking at all of them, for two looks (Mitzenmacher 2001). When both
    drawn are full, all are looked at, so that a free replica is never missed.
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        self._random = (rng or random.Random()).random

    def choose(self, call: Call, replicas: Sequence[ReplicaLoad]) -> Pick | Wait | Shed:
        count = len(replicas)
        if count == 1:
            only = replicas[0]
            return only if only.free else WAIT
        first = int(self._random() * count)
        second = (first + 1 + int(self._random() * (count - 1))) % count
        one, two = replicas[first], replicas[second]
        if two.free and (not one.free or _load(two) < _load(one)):
            return two
        if one.free:
            return one
        free = [replica for replica in replicas if replica.free]
        return min(free, key=_load) if free else WAIT


class RoundRobin(_Stateless):
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


def _load(replica: ReplicaLoad) -> int:
    """Requests it has: those it told of include ours, but ours may have come since."""
    return max(replica.in_flight, replica.reported)
