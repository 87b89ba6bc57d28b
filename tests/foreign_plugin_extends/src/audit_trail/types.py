"""Types of this plugin's hooks."""

from __future__ import annotations

from typing import Protocol

__all__ = ["AuditSink"]


class AuditSink(Protocol):
    """Stores audit notes.

    Attributes:
        name: Unique among all installed plugins.
    """

    @property
    def name(self) -> str: ...

    def write(self, note: str) -> None:
        """Store a note. Must not block."""
