"""The check of a plugin's `wrap_http` in `alacarte.testing.check_plugin`."""

from __future__ import annotations

import asyncio

from alacarte.errors import PluginError
from alacarte.layers import order_stages
from alacarte.types import ConfigSections, DeploymentId, DeploymentInfo, HookResult, Hooks

from ._proxy.layer_builder import HttpLayers
from .layers import APPLICATION, SYSTEM, UNMATCHED, HttpRequest, HttpResponse, HttpRoute

__all__ = ["check_http_layers"]

_DEPLOYMENT = DeploymentInfo(DeploymentId("check", "Plugin"), "1")
_ROUTES = (
    HttpRoute(APPLICATION, "/check", "check", (_DEPLOYMENT,)),
    HttpRoute(SYSTEM, "/-/"),
    HttpRoute(UNMATCHED),
)


def check_http_layers(hooks: Hooks, config: ConfigSections) -> None:
    """Send a request and a WebSocket handshake through the layers of each kind of route.

    Raises:
        AssertionError: A hook or a layer fails, or returns an invalid value.
    """
    failures: list[str] = []

    def report(plugin: str, hook: str, error: BaseException, subject: str) -> None:
        failures.append(f"plugin {plugin}: {hook} for {subject}: {error}")

    def collect(route: HttpRoute) -> list[HookResult]:
        try:
            return [*hooks.call("wrap_http", route=route, config=config)]
        except PluginError as error:
            failures.append(str(error))
            raise

    layers = HttpLayers(
        collect, order_stages(hooks.registered("register_layer_stages").values()), report
    )
    layers.update(_ROUTES)
    asyncio.run(_send_requests(layers))
    assert not failures, "; ".join(failures)


async def _send_requests(layers: HttpLayers) -> None:
    async def forward(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200)

    for route in _ROUTES:
        service = layers.service(route)
        for websocket in (False, True):
            if service is not None:
                path = f"{route.prefix}/a"
                await service(
                    HttpRequest(
                        "GET",
                        path,
                        path.encode(),
                        client=("127.0.0.1", 1),
                        websocket=websocket,
                        request_id="check",
                        route=route,
                        _forward=forward,
                    )
                )
