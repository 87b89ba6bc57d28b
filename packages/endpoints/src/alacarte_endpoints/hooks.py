"""Hook implementations: names in `serve`, resource kinds, a command, counters and shadows."""

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
"""Enough for about 50,000 targets."""

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
    """Return the public names, imported on first use."""
    return [ApiName(name, f"alacarte_endpoints:{name}") for name in _NAMES]


@hookimpl
def register_resources() -> list[ResourceKind]:
    """Return the kinds of backends, endpoints and splits."""
    from .kinds import BackendKind, EndpointKind, TrafficKind

    return [BackendKind(), EndpointKind(), TrafficKind()]


@hookimpl
def register_commands() -> list[Command]:
    """Return the command `alacarte traffic`."""
    target = "alacarte_endpoints.commands:command"
    return [Command("traffic", "Split a route's requests between applications.", target)]


@hookimpl
def make_client(instance: Instance) -> Client:
    """Return the client for `serve.start`."""
    from . import _client  # lazy: few processes need a client

    return _client.Client(instance)


@hookimpl
def register_report_topics() -> list[ReportTopic]:
    """Return the topic of route counts."""
    from ._call_counter import decode_reports, encode_reports
    from ._route_reporter import COUNTS_TOPIC

    def create() -> RouteCounters:
        from ._route_counters import RouteCounters  # the controller alone needs it

        return RouteCounters()

    return [ReportTopic(COUNTS_TOPIC, create, encode_reports, decode_reports, _MAX_REPORT_BYTES)]


@hookimpl
def wrap_route(route: Route, runtime: Runtime) -> RouteLayer | None:
    """Return a layer that counts the calls of a route's targets, and sends copies to shadows."""
    from ._route_reporter import counted_route

    return counted_route(route, runtime)
