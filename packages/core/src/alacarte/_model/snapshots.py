"""What the controller tells the processes that make calls: the world at one version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..types import Address, DeploymentId

__all__ = ["DeploymentSnapshot", "ReplicaEntry", "deployment_key", "ROUTES_KEY"]

ROUTES_KEY = "routes"


def deployment_key(deployment: DeploymentId) -> str:
    """Return the key under which a deployment's snapshots are watched."""
    return f"deployment:{deployment}"


@dataclass(frozen=True)
class ReplicaEntry:
    """A replica that is ready for calls."""

    replica_id: str
    address: Address
    node_id: str
    max_ongoing: int


@dataclass(frozen=True)
class DeploymentSnapshot:
    """A deployment's replicas at one version.

    Attributes:
        state: `up` while replicas are there or expected; `failed` when none will come unless
            it is deployed anew; `absent` when there is no such deployment.
        reason: Why it is failed or absent.
        max_queued: Calls that may wait in one process, -1 for any number.
        policy: Name of the routing policy.
    """

    id: DeploymentId
    version: int
    state: Literal["up", "failed", "absent"]
    reason: str = ""
    replicas: tuple[ReplicaEntry, ...] = ()
    max_queued: int = 1024
    policy: str = "power_of_two"
