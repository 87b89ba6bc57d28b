"""Conformance check of layers around routes."""

from __future__ import annotations

import asyncio
from typing import Any

from .._plugins import Plugins
from ..errors import PluginError
from ..types import Call, ConfigSections, DeploymentId, Reply, Route, Service

__all__ = ["check_route_layers"]

_ROUTE = Route(
    "/check",
    "check",
    {DeploymentId("check", "One"): 0.5, DeploymentId("check", "Two"): 0.5},
    shadows={DeploymentId("check", "Shadow"): 1.0},
    name="check",
)


def check_route_layers(plugins: Plugins, config: ConfigSections) -> None:
    """Check that the layers of a route with two targets and a shadow forward a call.

    Raises:
        AssertionError: A plugin raises or returns no layer; or a layer changes the reply, or
            returns no service.
    """
    asyncio.run(_check(plugins, config))


async def _check(plugins: Plugins, config: ConfigSections) -> None:
    runtime: Any = _FakeRuntime(config)
    for layer in plugins.wrap_route(_ROUTE, runtime):
        assert not isinstance(layer, PluginError), str(layer)
        target = next(iter(_ROUTE.targets))
        inner = _checked("wrap_target", layer.wrap_target(target, runtime.service(target), _never))
        service = _checked("wrap", layer.wrap(inner, _never))
        reply = await service(Call("check", (b"",)))
        assert reply.payload == (b"One",), f"wrap_route: the layer changed the reply to {reply!r}"
        layer.close(replaced=False)


def _checked(method: str, service: object) -> Service:
    assert callable(service), f"wrap_route: {method} returned {service!r} instead of a service"
    wrapped: Service = service
    return wrapped


class _FakeRuntime:
    """A `Runtime` whose deployments reply with their names."""

    service_context = None
    node_id = "check"

    def __init__(self, config: ConfigSections) -> None:
        self.loop = asyncio.get_running_loop()
        self.config = config

    def service(self, deployment: DeploymentId) -> Service:
        async def serve(call: Call) -> Reply:
            return Reply((deployment.name.encode(),))

        return serve

    def report(self, topic: str, value: object) -> None: ...


def _never(reply: Reply) -> bool:
    return False
