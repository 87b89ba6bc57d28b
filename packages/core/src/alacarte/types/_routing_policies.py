"""Choosing a replica for each call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from ._replicas import ReplicaLoad
from ._requests import Call

Pick = ReplicaLoad
"""A policy picks by returning one of the replicas it was shown."""


class Wait(NamedTuple):
    """Every replica is busy: keep the call in the queue until a slot frees."""


WAIT = Wait()


class Shed(NamedTuple):
    """Refuse the call now, with back pressure."""

    retry_after_s: float = 1.0


class RoutingPolicy(Protocol):
    """Chooses a replica for each call of one deployment, in one process.

    Every method runs on the router's event loop, must not block and does no I/O. One object
    serves one router, so it needs no lock.
    """

    def choose(self, call: Call, replicas: Sequence[ReplicaLoad]) -> Pick | Wait | Shed:
        """Return one of `replicas` that is `free`, `WAIT`, or a `Shed`.

        Args:
            call: The call to place. Its payload is not to be read.
            replicas: Those that are connected, never empty, in no particular order.
        """

    def started(self, call: Call, replica: ReplicaLoad) -> None:
        """A call was sent to this replica."""

    def finished(self, call: Call, replica: ReplicaLoad) -> None:
        """A call ended, successfully or with an error of the user's code."""

    def failed(self, call: Call, replica: ReplicaLoad) -> None:
        """A call was refused by the replica, lost with it, or given up while it was silent."""


@dataclass(frozen=True)
class PolicyFactory:
    """A routing policy under the name by which `DeploymentConfig.routing_policy` asks for it.

    Attributes:
        name: Unique among all installed plugins.
        create: Makes one policy for one router.
    """

    name: str
    create: Callable[[], RoutingPolicy]
