"""The hooks of this package: names in `serve`, resource kinds, a command, counts and shadows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alacarte.hookspecs import hookimpl
from alacarte.types import (
    ApiName,
    Client,
    Command,
    Instance,
    ReportTopic,
    ResourceKind,
    Route,
    RouteLayer,
    Runtime,
)

if TYPE_CHECKING:
    from ._route_counters import RouteCounters

__all__ = [
    "make_client",
    "register_api",
    "register_commands",
    "register_report_topics",
    "register_resources",
    "wrap_route",
]

_MAX_REPORT_BYTES = 16 * 1024 * 1024
"""About 50,000 targets of routes."""

_NAMES = (
    "BackendConfig",
    "CondaEnv",
    "accept_batch",
    "connect",
    "delete_traffic",
    "get_current_backend_tag",
    "get_current_replica_tag",
    "set_traffic",
    "shadow_traffic",
)


@hookimpl
def register_api() -> list[ApiName]:
    """Add the names, imported when first used."""
    return [ApiName(name, f"alacarte_endpoints:{name}") for name in _NAMES]


@hookimpl
def register_resources() -> list[ResourceKind]:
    """Add what the client and `serve.set_traffic` make."""
    from .kinds import BackendKind, EndpointKind, TrafficKind

    return [BackendKind(), EndpointKind(), TrafficKind()]


@hookimpl
def register_commands() -> list[Command]:
    """Add `alacarte traffic`."""
    target = "alacarte_endpoints.commands:command"
    return [Command("traffic", "Split a route's requests between applications.", target)]


@hookimpl
def make_client(instance: Instance) -> Client:
    """Give `serve.start` its client."""
    from . import _client  # not before a client is wanted

    return _client.Client(instance)


@hookimpl
def register_report_topics() -> list[ReportTopic]:
    """Add the counts of routes."""
    from ._call_counter import decode_reports, encode_reports
    from ._route_reporter import COUNTS_TOPIC

    def create() -> RouteCounters:
        from ._route_counters import RouteCounters  # the controller alone needs it

        return RouteCounters()

    return [ReportTopic(COUNTS_TOPIC, create, encode_reports, decode_reports, _MAX_REPORT_BYTES)]


@hookimpl
def wrap_route(route: Route, runtime: Runtime) -> RouteLayer | None:
    """Count what a route's targets answer, and send its shadows copies."""
    from ._route_reporter import counted_route

    return counted_route(route, runtime)
