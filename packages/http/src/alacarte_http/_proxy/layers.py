"""The layers of plugins around each route: built once, in order, and contained.

A proxy without such layers has none of this around its requests.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from alacarte.errors import RequestError
from alacarte.layers import order_layers
from alacarte.types import StagedLayer

from .._edge.exchange import ClientDisconnected
from .._errors import Answer, answer_to
from ..layers import HttpLayer, HttpRequest, HttpResponse, HttpRoute, HttpService

__all__ = ["HttpLayers", "response_to"]

log = logging.getLogger("alacarte.http")
_FAILED = "Internal Server Error"

Given = Iterable[tuple[str, Any]]
"""What the plugins give for one route: the plugin's name, with what its hook returned or raised."""


class HttpLayers:
    """Builds the service of each route from the layers of plugins.

    Args:
        ask: Asks the plugins for a route.
        stages: Names of the stages, the outermost first.
        report: Called with plugin, kind of failure and error, for each failure.
    """

    def __init__(
        self,
        ask: Callable[[HttpRoute], Given],
        stages: Sequence[str],
        report: Callable[[str, str, BaseException], None] | None = None,
    ) -> None:
        self._ask = ask
        self._stages = stages
        self._report = report or FailureLog()
        self._services: dict[HttpRoute, HttpService | None] = {}

    def update(self, routes: Iterable[HttpRoute]) -> None:
        """Build the services of routes that are new or have changed; forget those that are gone."""
        before = self._services
        self._services = {
            route: before[route] if route in before else self._build(route) for route in routes
        }

    def service(self, route: HttpRoute) -> HttpService | None:
        """Return the service of a route, None where no plugin stands around it."""
        return self._services[route]

    def __bool__(self) -> bool:
        return any(service is not None for service in self._services.values())

    def _build(self, route: HttpRoute) -> HttpService | None:
        layers: list[tuple[str, StagedLayer[HttpLayer]]] = []
        for plugin, given in self._ask(route):
            if given is None:
                continue
            staged = given if isinstance(given, StagedLayer) else StagedLayer("", given)
            if isinstance(given, BaseException):
                self._report(plugin, f"wrap_http for {_name(route)}", given)
                return _fail
            if not callable(staged.layer) or isinstance(staged.layer, type):
                error = TypeError(f"wrap_http returned {given!r}, which is no layer")
                self._report(plugin, f"wrap_http for {_name(route)}", error)
                return _fail
            guarded = _Guarded(plugin, staged.layer, self._report)
            layers.append((plugin, replace(staged, layer=guarded)))
        if not layers:
            return None
        try:
            ordered = order_layers(layers, self._stages)
        except Exception as error:  # a stage that nobody registers
            self._report(" and ".join(sorted(plugin for plugin, _ in layers)), "wrap_http", error)
            return _fail
        service: HttpService = _forward
        for staged in reversed(ordered):
            service = staged.layer(service)
        return service


class FailureLog:
    """Logs the failures of plugins: the first of each plugin and kind."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, str, type]] = set()

    def __call__(self, plugin: str, kind: str, error: BaseException) -> None:
        key = plugin, kind, type(error)
        if key not in self._seen:
            self._seen.add(key)
            log.error(
                "plugin %s failed in %s; further ones are not logged", *key[:2], exc_info=error
            )


class _Guarded:
    """A layer whose failures are answered, and named after its plugin."""

    def __init__(
        self, plugin: str, layer: HttpLayer, report: Callable[[str, str, BaseException], None]
    ) -> None:
        self._plugin = plugin
        self._layer = layer
        self._report = report

    def __call__(self, service: HttpService) -> HttpService:
        try:
            wrapped = self._layer(_checked(service))
            if not callable(wrapped):
                raise TypeError(f"the layer returned {wrapped!r}, which is no service")
        except Exception as error:  # foreign code
            self._report(self._plugin, "a layer of wrap_http", error)
            return _fail

        async def call(request: HttpRequest) -> HttpResponse:
            try:
                response: Any = await wrapped(request)
                if not isinstance(response, HttpResponse):
                    raise TypeError(f"the layer answered {response!r}, which is no HttpResponse")
            except ClientDisconnected:
                raise
            except Exception as error:  # foreign code; an error of a request is an answer
                answer = answer_to(error)
                if answer.status == 500 or not isinstance(error, RequestError):
                    self._report(self._plugin, "a layer of wrap_http", error)
                return response_to(answer)
            return response

        return call


def _checked(service: HttpService) -> HttpService:
    """Refuse what is no request where a layer passes it on, so that the error names that layer."""

    def call(request: HttpRequest) -> Awaitable[HttpResponse]:
        if not isinstance(request, HttpRequest):
            raise TypeError(f"a layer passes on {request!r}, which is no HttpRequest")
        return service(request)

    return call


async def _forward(request: HttpRequest) -> HttpResponse:
    """Answer a request inside of all layers."""
    response: HttpResponse = await request._forward(request)
    return response


async def _fail(request: HttpRequest) -> HttpResponse:
    return HttpResponse(500, _FAILED)


def response_to(answer: Answer) -> HttpResponse:
    """Return the proxy's own answer as layers see it."""
    return HttpResponse(answer.status, answer.text, answer.headers)


def _name(route: HttpRoute) -> str:
    return f"{route.kind} {route.application or route.prefix}".strip()
