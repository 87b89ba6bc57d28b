"""Audit notes in memory.

Attributes:
    notes: Notes of the calls in the replicas of this process.
    opened: Deployments with started audit trails, each with the names of the sinks.
"""

from __future__ import annotations

__all__ = ["notes", "opened"]

notes: list[str] = []
opened: list[tuple[str, list[str]]] = []
