"""The specification of a replica: plain values, so that its process imports little."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..types import DeploymentId

__all__ = ["ReplicaSpec"]


@dataclass(frozen=True)
class ReplicaSpec:
    """The specification of one replica, for its process.

    Attributes:
        version: Version of the deployment; see `DeploymentSpec`.
        code: The user's class or function, pickled; see `DeploymentSpec`.
        init: The constructor's arguments, pickled; see `DeploymentSpec`.
        options: Deployment options of plugins; see `DeploymentSpec`.
    """

    deployment: DeploymentId
    replica_id: str
    version: str
    code: bytes = field(repr=False)
    init: bytes = field(repr=False)
    is_function: bool
    max_ongoing: int
    user_config: object
    options: Mapping[str, object] = field(default_factory=dict)
