"""Hook specifications of this plugin."""

from __future__ import annotations

from alacarte.hookspecs import hookspec
from alacarte.types import DeploymentId

from .types import AuditSink

__all__: list[str] = []


@hookspec
def register_audit_sinks() -> list[AuditSink]:  # type: ignore[empty-body]
    """Return sinks for the audit notes. Replica.

    When it raises, the replica does not start, and the reason names the plugin.
    """


@hookspec
def on_audit_opened(deployment: DeploymentId, sinks: list[str]) -> None:
    """Called before a replica records its first call. Replica.

    When it raises, the failure is logged with the plugin's name, and changes nothing.
    """
