"""Observers that count: one for each subject of a process."""

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
"""Of this process: what was observed, of whom, and what it was."""


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


class _Router(RouterObserver):
    def __init__(self, name: str) -> None:
        self._name = name

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
        self._count(f"ended {_text(outcome)}")

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

    def _count(self, what: str) -> None:
        counts["router", self._name, what] += 1


class _Replica(ReplicaObserver):
    def __init__(self, name: str) -> None:
        self._name = name

    def rejected(self, call: Call) -> None:
        self._count("rejected")

    def started(self, call: Call) -> None:
        self._count("started")

    def first_part(self, call: Call) -> None:
        self._count("first part")

    def ended(self, call: Call, outcome: Outcome) -> None:
        self._count(f"ended {_text(outcome)}")

    def _count(self, what: str) -> None:
        counts["replica", self._name, what] += 1


class _Wire(WireObserver):
    def __init__(self, name: str) -> None:
        self._name = name

    def opened(self) -> None:
        self._count("opened")

    def closed(self) -> None:
        self._count("closed")

    def sent(self, size_bytes: int) -> None:
        self._count("sent", size_bytes)

    def received(self, size_bytes: int) -> None:
        self._count("received", size_bytes)

    def _count(self, what: str, number: int = 1) -> None:
        counts["wire", self._name, what] += number


class _Edge(EdgeObserver):
    def __init__(self, name: str) -> None:
        self._name = name

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

    def _count(self, what: str, number: int = 1) -> None:
        counts["edge", self._name, what] += number


class _Batcher(BatchObserver):
    def __init__(self, name: str) -> None:
        self._name = name

    def queued(self) -> None:
        self._count("queued")

    def started(self, size: int, oldest_s: float) -> None:
        self._count(f"started {size}")

    def ended(self, size: int, total_s: float, error: BaseException | None) -> None:
        self._count(f"ended {size} {type(error).__name__ if error else 'success'}")

    def _count(self, what: str) -> None:
        counts["batcher", self._name, what] += 1


def _text(outcome: Outcome) -> str:
    return outcome.kind if outcome.ok else f"{outcome.kind} {outcome.code}"
