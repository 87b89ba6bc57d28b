"""The names of an instance's actors: by their beginnings they are found again."""

from __future__ import annotations

__all__ = ["instance_prefix", "replica_prefix", "service_group", "service_prefix"]


def instance_prefix(instance: str) -> str:
    """Return the beginning of the names of all actors of an instance but the controller."""
    return f"alacarte:{instance}:"


def replica_prefix(instance: str) -> str:
    """Return the beginning of the names of an instance's replicas."""
    return f"{instance_prefix(instance)}replica:"


def service_prefix(instance: str) -> str:
    """Return the beginning of the names of an instance's node services."""
    return f"{instance_prefix(instance)}service:"


def service_group(instance: str, service: str, node_id: str) -> str:
    """Return the beginning of the names of one service's processes on a node; ":" follows."""
    return f"{service_prefix(instance)}{service}:{node_id}"
