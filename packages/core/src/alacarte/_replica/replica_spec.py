"""What a replica's process is given: plain values, so that it loads no more than it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..types import DeploymentId

__all__ = ["ReplicaSpec"]


@dataclass(frozen=True)
class ReplicaSpec:
    """One replica to be.

    Attributes:
        version: Of the deployment; see `DeploymentSpec`.
        code: The user's class or function, and `init` its arguments; see `DeploymentSpec`.
        options: Those that plugins give deployments; see `DeploymentSpec`.
    """

    deployment: DeploymentId
    replica_id: str
    version: str
    code: bytes = field(repr=False)
    init: bytes = field(repr=False)
    is_function: bool
    max_ongoing: int
    user_config: Any
    options: Mapping[str, Any] = field(default_factory=dict)
