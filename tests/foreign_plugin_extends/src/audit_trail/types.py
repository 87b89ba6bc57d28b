"""What the hooks of this plugin exchange."""

from __future__ import annotations

from typing import Protocol

__all__ = ["AuditSink"]


class AuditSink(Protocol):
    """Takes notes.

    Attributes:
        name: Unique among all installed plugins.
    """

    @property
    def name(self) -> str: ...

    def write(self, note: str) -> None:
        """Keep a note. Must not block."""
