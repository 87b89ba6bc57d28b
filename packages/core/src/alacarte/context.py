"""Where code is running: in which request, in which replica, with which runtime.

Context variables, so that they hold in the thread pool and in tasks the user starts, and so that
the local cluster, whose replicas share one process, keeps them apart.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from .errors import ServeError
from .types import Call, DeploymentId, Runtime

__all__ = [
    "ReplicaContext",
    "current_call",
    "current_replica",
    "current_runtime",
    "get_replica_context",
]


@dataclass
class ReplicaContext:
    """The replica that user code runs in.

    Attributes:
        deployment_id: Application and deployment.
        replica_id: Unique within the instance.
        servable_object: The user's object; None while its constructor runs.
    """

    deployment_id: DeploymentId
    replica_id: str
    servable_object: Any = None

    @property
    def app_name(self) -> str:
        """The application."""
        return self.deployment_id.app

    @property
    def deployment(self) -> str:
        """The deployment's name."""
        return self.deployment_id.name

    @property
    def replica_tag(self) -> str:
        """Ray Serve's name for `replica_id`."""
        return self.replica_id


current_call: ContextVar[Call | None] = ContextVar("alacarte_call", default=None)
"""The request being worked on here, None outside of one."""

current_replica: ContextVar[ReplicaContext | None] = ContextVar("alacarte_replica", default=None)
"""The replica this code runs in, None outside of one."""

current_runtime: ContextVar[Runtime | None] = ContextVar("alacarte_runtime", default=None)
"""The runtime of the actor this code runs in; None in a driver, which has one for the process."""


def get_replica_context() -> ReplicaContext:
    """Return the replica that calls this.

    Raises:
        ServeError: Not called in a replica.
    """
    replica = current_replica.get()
    if replica is None:
        raise ServeError("get_replica_context() was called outside of a replica.")
    return replica
