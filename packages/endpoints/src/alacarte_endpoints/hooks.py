"""What this package gives to alacarte: names in `serve`, three kinds of resource, a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alacarte.hookspecs import hookimpl
from alacarte.types import ApiName, Command, Instance, ResourceKind

if TYPE_CHECKING:
    from ._client import Client

__all__ = ["make_client", "register_api", "register_commands", "register_resources"]

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
    from ._client import Client

    return Client(instance)
