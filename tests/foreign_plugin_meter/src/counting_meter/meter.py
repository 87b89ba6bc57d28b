"""Observers that count events, one for each subject of a process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from alacarte.types import (
    BatchObserver,
    Call,
    DeploymentId,
    EdgeObserver,
    EdgeRequest,
    Meter,
    Outcome,
    ReplicaLoad,
    ReplicaObserver,
    RouterObserver,
    WireObserver,
)

__all__ = ["CountingMeter", "counts"]

counts: Counter[tuple[str, str, str]] = Counter()
"""Counts of this process, by kind and name of the subject and by event."""


class CountingMeter(Meter):
    """The meter of one process."""

    def router(self, deployment: DeploymentId) -> RouterObserver:
        return _Router(str(deployment))

    def replica(self, deployment: DeploymentId) -> ReplicaObserver:
        return _Replica(str(deployment))

    def wire(self, end: str) -> WireObserver:
        return _Wire(end)

    def edge(self, ingress: str) -> EdgeObserver:
        return _Edge(ingress)

    def batcher(self, deployment: DeploymentId, function: str) -> BatchObserver:
        return _Batcher(f"{deployment}.{function}")


class _Counting:
    """Counts the events of one subject.

    Args:
        name: Name of the subject.
    """

    kind: str

    def __init__(self, name: str) -> None:
        self._name = name

    def _count(self, event: str, number: int = 1) -> None:
        counts[self.kind, self._name, event] += number


class _Router(_Counting, RouterObserver):
    kind = "router"

    def began(self, call: Call) -> None:
        self._count("began")

    def queued(self, call: Call) -> None:
        self._count("queued")

    def sent(self, call: Call, replica: ReplicaLoad) -> None:
        self._count("sent")

    def rejected(self, call: Call, replica: ReplicaLoad) -> None:
        self._count("rejected")

    def retried(self, call: Call, replica: ReplicaLoad) -> None:
        self._count("retried")

    def first_part(self, call: Call, replica: ReplicaLoad) -> None:
        self._count("first part")

    def ended(self, call: Call, replica: ReplicaLoad | None, outcome: Outcome) -> None:
        self._count(f"ended {_describe(outcome)}")

    def broadcast(self, call: Call, replicas: Sequence[ReplicaLoad]) -> None:
        self._count("broadcast")

    def joined(self, replica: ReplicaLoad) -> None:
        self._count("joined")

    def left(self, replica: ReplicaLoad) -> None:
        self._count("left")

    def ejected(self, replica: ReplicaLoad) -> None:
        self._count("ejected")

    def restored(self, replica: ReplicaLoad) -> None:
        self._count("restored")


class _Replica(_Counting, ReplicaObserver):
    kind = "replica"

    def rejected(self, call: Call) -> None:
        self._count("rejected")

    def started(self, call: Call) -> None:
        self._count("started")

    def first_part(self, call: Call) -> None:
        self._count("first part")

    def ended(self, call: Call, outcome: Outcome) -> None:
        self._count(f"ended {_describe(outcome)}")


class _Wire(_Counting, WireObserver):
    kind = "wire"

    def opened(self) -> None:
        self._count("opened")

    def closed(self) -> None:
        self._count("closed")

    def sent(self, size_bytes: int) -> None:
        self._count("sent", size_bytes)

    def received(self, size_bytes: int) -> None:
        self._count("received", size_bytes)


class _Edge(_Counting, EdgeObserver):
    kind = "edge"

    def opened(self) -> None:
        self._count("opened")

    def closed(self) -> None:
        self._count("closed")

    def received(self, size_bytes: int) -> None:
        self._count("received", size_bytes)

    def sent(self, size_bytes: int) -> None:
        self._count("sent", size_bytes)

    def refused(self, request: EdgeRequest, reason: str) -> None:
        self._count(f"refused {request.protocol} {request.status}")

    def ended(self, request: EdgeRequest) -> None:
        self._count(f"ended {request.protocol} {request.status} {request.app}")


class _Batcher(_Counting, BatchObserver):
    kind = "batcher"

    def queued(self) -> None:
        self._count("queued")

    def started(self, size: int, oldest_s: float) -> None:
        self._count(f"started {size}")

    def ended(self, size: int, total_s: float, error: BaseException | None) -> None:
        self._count(f"ended {size} {type(error).__name__ if error else 'success'}")


def _describe(outcome: Outcome) -> str:
    return outcome.kind if outcome.ok else f"{outcome.kind} {outcome.code}"
