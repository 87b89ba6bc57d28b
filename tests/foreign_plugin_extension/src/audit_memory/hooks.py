"""Implementations of the hooks of audit_trail."""

from __future__ import annotations

from audit_trail.types import AuditSink

from alacarte.hookspecs import hookimpl
from alacarte.types import DeploymentId

from . import notes, opened

__all__: list[str] = []


class Memory:
    """Stores notes in a list."""

    name = "memory"

    def write(self, note: str) -> None:
        """Store a note."""
        notes.append(note)


@hookimpl
def register_audit_sinks() -> list[AuditSink]:
    return [Memory()]


@hookimpl
def on_audit_opened(deployment: DeploymentId, sinks: list[str]) -> None:
    opened.append((str(deployment), sinks))


@hookimpl(optionalhook=True)
def register_audit_filters() -> list[object]:
    return []
