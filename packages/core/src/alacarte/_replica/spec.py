"""What a replica's process is given: plain values, so that it loads no more than it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..types import Address, DeploymentId

__all__ = ["ReplicaSpec", "Started"]


@dataclass(frozen=True)
class ReplicaSpec:
    """One replica to be.

    Attributes:
        version: Of the deployment; see `DeploymentSpec`.
        code: The user's class or function, and `init` its arguments; see `DeploymentSpec`.
        instance: Name of the instance, and `secret` what its processes prove to each other.
        max_message: The longest request or reply, in bytes.
        transport: See `ClusterOptions`.
        config: Sections of the configuration, as plain values.
    """

    deployment: DeploymentId
    replica_id: str
    version: str
    code: bytes
    init: bytes
    is_function: bool
    max_ongoing: int
    user_config: Any
    instance: str
    secret: bytes
    max_message: int
    transport: str
    config: Mapping[str, Any]


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
