"""Notes of calls, in memory.

Attributes:
    notes: Of the calls that replicas of this process have run.
    opened: Each deployment whose replica has begun to take notes, with the names of its sinks.
"""

from __future__ import annotations

__all__ = ["notes", "opened"]

notes: list[str] = []
opened: list[tuple[str, list[str]]] = []
