"""What a replica's process is given: plain values, so that it loads no more than it needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..types import Address, DeploymentId

__all__ = ["ReplicaSpec", "Started"]


@dataclass(frozen=True)
class ReplicaSpec:
    """One replica to be.

    Attributes:
        version: Of the deployment; see `DeploymentSpec`.
        code: The user's class or function, and `init` its arguments; see `DeploymentSpec`.
    """

    deployment: DeploymentId
    replica_id: str
    version: str
    code: bytes = field(repr=False)
    init: bytes = field(repr=False)
    is_function: bool
    max_ongoing: int
    user_config: Any


@dataclass(frozen=True)
class Started:
    """What a replica tells the controller once it is ready.

    Attributes:
        user_config: The one it was configured with last.
        checks_itself: The user's class has a `check_health`.
        leaving: It has been told to stop.
    """

    deployment: DeploymentId
    replica_id: str
    version: str
    address: Address
    node_id: str
    pid: int
    max_ongoing: int
    user_config: Any
    checks_itself: bool = False
    leaving: bool = False
