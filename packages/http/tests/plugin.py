"""A third-party plugin that counts hook calls and adds layers and a kind of resource."""

from __future__ import annotations

from collections import Counter
from typing import Any

from pydantic import BaseModel, ConfigDict

from alacarte.hookspecs import hookimpl
from alacarte.types import (
    Call,
    ConfigSection,
    Expansion,
    Layer,
    Reply,
    Resource,
    Resources,
    Route,
    Service,
)

HOOKS: Counter[str] = Counter()
LAYERS: Counter[str] = Counter()


def HTTP_LAYER(route: Any) -> Any:  # noqa: N802  # replaced by tests
    """Return no HTTP layer; tests replace this function."""


class LockOptions(BaseModel):
    """An option of deployments.

    Attributes:
        closed: Whether it is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    closed: bool = True


class Door:
    """A kind of resource that expands to the route in its spec."""

    name = "door"

    def validate(self, resource: Resource, resources: Resources) -> None:
        assert isinstance(resource.spec, Route)

    def expand(self, resource: Resource) -> Expansion:
        return Expansion((), (resource.spec,))


def _layer(name: str) -> Layer:
    def wrap(service: Service) -> Service:
        async def serve(call: Call) -> Reply:
            LAYERS[name] += 1
            return await service(call)

        return serve

    return wrap


@hookimpl
def register_api() -> list[Any]:
    HOOKS["register_api"] += 1
    return []


@hookimpl
def register_modules() -> list[Any]:
    HOOKS["register_modules"] += 1
    return []


@hookimpl
def register_config() -> list[Any]:
    HOOKS["register_config"] += 1
    return [ConfigSection("lock", f"{__name__}:LockOptions", scope="deployment")]


@hookimpl
def register_commands() -> list[Any]:
    HOOKS["register_commands"] += 1
    return []


@hookimpl
def register_resources() -> list[Any]:
    HOOKS["register_resources"] += 1
    return [Door()]


@hookimpl
def register_node_services() -> list[Any]:
    HOOKS["register_node_services"] += 1
    return []


@hookimpl
def register_routing_policies() -> list[Any]:
    HOOKS["register_routing_policies"] += 1
    return []


@hookimpl
def register_protocols() -> list[Any]:
    HOOKS["register_protocols"] += 1
    return []


@hookimpl
def make_handle() -> Any:
    HOOKS["make_handle"] += 1
    return "no handle"


@hookimpl
def wrap_caller() -> Layer:
    HOOKS["wrap_caller"] += 1
    return _layer("caller")


@hookimpl
def wrap_replica() -> Layer:
    HOOKS["wrap_replica"] += 1
    return _layer("replica")


@hookimpl
def wrap_http(route: Any) -> Any:
    HOOKS["wrap_http"] += 1
    return HTTP_LAYER(route)


@hookimpl
def on_event() -> None:
    HOOKS["on_event"] += 1
