"""Names of an instance's actors. Each kind has a prefix, by which the cluster lists its actors."""

from __future__ import annotations

__all__ = ["instance_prefix", "replica_prefix", "service_group", "service_prefix"]


def instance_prefix(instance: str) -> str:
    """Return the name prefix of all actors of an instance except the controller."""
    return f"alacarte:{instance}:"


def replica_prefix(instance: str) -> str:
    """Return the name prefix of an instance's replicas."""
    return f"{instance_prefix(instance)}replica:"


def service_prefix(instance: str) -> str:
    """Return the name prefix of an instance's node services."""
    return f"{instance_prefix(instance)}service:"


def service_group(instance: str, service: str, node_id: str) -> str:
    """Return the name prefix of a service's processes on a node; ":" and an id follow."""
    return f"{service_prefix(instance)}{service}:{node_id}"
