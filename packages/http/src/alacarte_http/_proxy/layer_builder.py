"""The HTTP layers of plugins around each route, in order, with their failures contained.

Built once per route table. Requests of a proxy without such layers skip this module.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from operator import is_
from typing import NamedTuple

from alacarte.errors import RequestError
from alacarte.foreign import is_cancellation, is_interrupt
from alacarte.layers import order_layers
from alacarte.types import Identity, StagedLayer

from .._edge.exchange import ClientDisconnected
from .._head_codec import check_method
from .._local_response import LocalResponse, error_response
from ..layers import HttpLayer, HttpRequest, HttpResponse, HttpRoute, HttpService

__all__ = ["BuiltLayers", "HttpLayers", "Report", "to_http_response", "describe_route"]

_HOOK = "wrap_http"
_INTERNAL_ERROR = "Internal Server Error"

Report = Callable[[str, str, BaseException, str], None]
"""Records a failure of a plugin, given its name, the hook, the error and the hook's subject."""


class BuiltLayers(NamedTuple):
    """The layers around one route.

    Attributes:
        route: The route as layers see it.
        service: The layers around the request's own `_forward`; None without layers.
        task_free: Every layer is free of tasks; see `StagedLayer`.
        failed: A layer could not be built; it responds 500 to each request that reaches it.
    """

    route: HttpRoute
    service: HttpService | None
    task_free: bool
    failed: bool = False


class HttpLayers:
    """Builds the service of each route from the layers of plugins.

    A route whose plugin fails responds 500 until an `update` succeeds, since the missing layer may
    authenticate requests.

    Args:
        collect: Calls the hooks for a route; returns pairs of plugin name and layer. When a hook
            fails, it reports the failure and raises.
        stages: Names of the stages, the outermost first.
        report: Called for each failure.
    """

    def __init__(
        self,
        collect: Callable[[HttpRoute], Iterable[tuple[str, HttpLayer | StagedLayer[HttpLayer]]]],
        stages: Sequence[str],
        report: Report,
    ) -> None:
        self._collect = collect
        self._stages = stages
        self._report = report
        self._built: dict[HttpRoute, BuiltLayers] = {}

    def update(self, routes: Iterable[HttpRoute]) -> None:
        """Build the layers of new, changed and failed routes; drop those of removed routes."""
        before = self._built
        self._built = {
            route: before[route] if _is_current(before.get(route), route) else self._build(route)
            for route in routes
        }

    @property
    def failed(self) -> bool:
        """Whether a layer of some route could not be built."""
        return any(built.failed for built in self._built.values())

    def built(self, route: HttpRoute) -> BuiltLayers:
        """Return the layers of a route."""
        return self._built[route]

    def service(self, route: HttpRoute) -> HttpService | None:
        """Return the service of a route, None without layers."""
        return self._built[route].service

    def _build(self, route: HttpRoute) -> BuiltLayers:
        ordered = self._layers(route)
        if ordered is None:
            return BuiltLayers(route, _internal_error, task_free=True, failed=True)
        if not ordered:
            return BuiltLayers(route, None, task_free=True)
        service: HttpService = _forward
        for staged in reversed(ordered):
            service = staged.layer(service)
        failed = any(staged.layer.failed for staged in ordered)
        return BuiltLayers(route, service, all(staged.task_free for staged in ordered), failed)

    def _layers(self, route: HttpRoute) -> list[StagedLayer[_PluginLayer]] | None:
        """Return the layers of a route, the outermost first; None if a plugin fails."""
        try:
            collected = list(self._collect(route))
        except Exception:  # raised by a plugin, and reported already
            return None
        layers: list[tuple[str, StagedLayer[_PluginLayer]]] = []
        subject = describe_route(route)
        for plugin, layer in collected:
            staged = layer if isinstance(layer, StagedLayer) else StagedLayer("", layer)
            plugin_layer = _PluginLayer(plugin, staged.layer, self._report, subject)
            layers.append((plugin, StagedLayer(staged.stage, plugin_layer, staged.task_free)))
        try:
            return order_layers(layers, self._stages)
        except Exception as error:  # a stage that no plugin registers
            self._report(" and ".join(plugin for plugin, _ in layers), _HOOK, error, subject)
            return None


def _is_current(built: BuiltLayers | None, route: HttpRoute) -> bool:
    """Return whether layers were built without a failure, for the same deployments and options.

    `DeploymentInfo` does not compare options, but an unchanged one is the same object.
    """
    if built is None or built.failed:
        return False
    return all(map(is_, built.route.deployments, route.deployments))


class _PluginLayer:
    """A plugin's layer, whose failures become responses and are reported with the plugin's name.

    Attributes:
        failed: The layer raised, or returned no service, when it was called.
    """

    def __init__(self, plugin: str, layer: HttpLayer, report: Report, subject: str) -> None:
        self._plugin = plugin
        self._layer = layer
        self._report = report
        self._subject = subject
        self.failed = False

    def __call__(self, service: HttpService) -> HttpService:
        try:
            wrapped = self._layer(_checked(service))
            if not callable(wrapped):
                raise TypeError(f"the layer returned {wrapped!r}, which is not a service")
        except BaseException as error:  # foreign code
            if is_interrupt(error):
                raise
            self._failed(error)
            self.failed = True
            return _internal_error

        async def call(request: HttpRequest) -> HttpResponse:
            try:
                response: object = await wrapped(request)
                if not isinstance(response, HttpResponse):
                    raise TypeError(
                        f"the layer's service returned {response!r}, which is not an HttpResponse"
                    )
            except (ClientDisconnected, GeneratorExit):
                raise
            except BaseException as error:  # foreign code; a RequestError is a response
                if is_interrupt(error) or _is_cancelled(error):
                    raise
                if not isinstance(error, RequestError):
                    self._failed(error)
                return to_http_response(error_response(error))
            return response

        return call

    def _failed(self, error: BaseException) -> None:
        self._report(self._plugin, _HOOK, error, self._subject)


def _is_cancelled(error: BaseException) -> bool:
    """Return whether an error is the cancellation of the request.

    Outside a task any `CancelledError` counts; `Forwarding` responds if the client is connected.
    """
    if not isinstance(error, asyncio.CancelledError):
        return False
    return asyncio.current_task() is None or is_cancellation(error)


def _checked(service: HttpService) -> HttpService:
    """Check the requests that a layer passes on, so that an error names that layer's plugin."""

    def call(request: HttpRequest) -> Awaitable[HttpResponse]:
        if not isinstance(request, HttpRequest):
            raise TypeError(f"the layer passed on {request!r}, which is not an HttpRequest")
        check_method(request.method)
        if request.identity is not None and not isinstance(request.identity, Identity):
            raise TypeError(
                f"the layer passed on the identity {request.identity!r}, which is not an Identity"
            )
        return service(request)

    return call


async def _forward(request: HttpRequest) -> HttpResponse:
    """Forward a request behind all layers."""
    response: HttpResponse = await request._forward(request)
    return response


async def _internal_error(request: HttpRequest) -> HttpResponse:
    return HttpResponse(500, _INTERNAL_ERROR)


def to_http_response(response: LocalResponse) -> HttpResponse:
    """Return a response of the proxy itself as layers see it."""
    return HttpResponse(response.status, response.text, response.headers)


def describe_route(route: HttpRoute) -> str:
    """Return a description of a route for reports of failures."""
    if route.kind == "application":
        return f"route {route.prefix!r} of {route.application!r}"
    return "the proxy's own paths" if route.kind == "system" else "paths without a route"
