"""The current backend and replica of user code."""

from __future__ import annotations

from alacarte.context import ReplicaContext, current_replica
from alacarte.errors import ServeError

__all__ = ["get_current_backend_tag", "get_current_replica_tag"]


def get_current_backend_tag() -> str:
    """Return the tag of the current backend.

    Raises:
        ServeError: The calling code does not run in a replica.
    """
    return _replica("get_current_backend_tag").deployment


def get_current_replica_tag() -> str:
    """Return the id of the current replica, unique within the instance.

    Raises:
        ServeError: The calling code does not run in a replica.
    """
    return _replica("get_current_replica_tag").replica_id


def _replica(function: str) -> ReplicaContext:
    replica = current_replica.get()
    if replica is None:
        raise ServeError(f"serve.{function}() was called outside of a backend's replica.")
    return replica
