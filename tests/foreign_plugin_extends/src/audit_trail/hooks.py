"""Hook implementations of this package. Other modules are imported on use."""

from __future__ import annotations

from types import ModuleType

from alacarte.hookspecs import hookimpl
from alacarte.runtime import get_runtime
from alacarte.types import ConfigSection, ConfigSections, DeploymentId, Layer

__all__: list[str] = []


@hookimpl
def register_hooks() -> list[ModuleType]:
    from . import hookspecs

    return [hookspecs]


@hookimpl
def register_config() -> list[ConfigSection]:
    return [ConfigSection("audit_trail", "audit_trail.config:AuditTrailOptions")]


@hookimpl
def wrap_replica(deployment: DeploymentId, config: ConfigSections) -> Layer | None:
    if not config.section("audit_trail").enabled:
        return None
    from .layer import note_calls

    hooks = get_runtime().hooks
    sinks = hooks.registered("register_audit_sinks")
    hooks.call_robust("on_audit_opened", deployment=deployment, sinks=list(sinks))
    return note_calls(list(sinks.values()))
