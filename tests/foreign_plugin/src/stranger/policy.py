"""Routing policy that picks the least recently used replica."""

from __future__ import annotations

from collections.abc import Sequence

from alacarte.types import WAIT, Call, Pick, ReplicaLoad, Shed, Wait

__all__ = ["LeastRecentlyUsed"]


class LeastRecentlyUsed:
    """Picks the free replica with the oldest last call."""

    def __init__(self) -> None:
        self._turn = 0
        self._last: dict[str, int] = {}

    def choose(self, call: Call, replicas: Sequence[ReplicaLoad]) -> Pick | Wait | Shed:
        free = [replica for replica in replicas if replica.free]
        return min(free, key=self._last_turn) if free else WAIT

    def started(self, call: Call, replica: ReplicaLoad) -> None:
        self._turn += 1
        self._last[replica.replica_id] = self._turn

    def left(self, replica: ReplicaLoad) -> None:
        self._last.pop(replica.replica_id, None)

    def _last_turn(self, replica: ReplicaLoad) -> int:
        return self._last.get(replica.replica_id, 0)
