"""The names of an instance's actors, by which a new controller finds them again."""

from __future__ import annotations

__all__ = ["instance_prefix", "replica_prefix", "service_prefix"]


def instance_prefix(instance: str) -> str:
    """Return the beginning of the names of all its actors, except the controller's."""
    return f"alacarte:{instance}:"


def replica_prefix(instance: str) -> str:
    """Return the beginning of the names of an instance's replica actors."""
    return f"{instance_prefix(instance)}replica:"


def service_prefix(instance: str) -> str:
    """Return the beginning of the names of an instance's service actors."""
    return f"{instance_prefix(instance)}service:"
