"""The layers of plugins around each route: built once, in order, and contained.

A proxy without such layers has none of this around its requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from operator import is_
from typing import Any, NamedTuple

from alacarte.errors import RequestError
from alacarte.foreign import is_cancellation, is_interrupt
from alacarte.layers import order_layers
from alacarte.types import Identity, StagedLayer

from .._edge.exchange import ClientDisconnected
from .._errors import Answer, answer_to
from .._head_codec import check_method
from ..layers import HttpLayer, HttpRequest, HttpResponse, HttpRoute, HttpService

__all__ = ["BuiltLayers", "HttpLayers", "Report", "response_to", "subject"]

_HOOK = "wrap_http"
_FAILED = "Internal Server Error"

Report = Callable[[str, str, BaseException, str], None]
"""Keeps a failure of a plugin: its name, the hook, the error, and what the plugin was asked for."""


class BuiltLayers(NamedTuple):
    """The layers around one route.

    Attributes:
        route: As the layers see it.
        service: The layers, around the way on that each request carries; None without layers.
        task_free: See `StagedLayer`; true of all of them.
        failed: One of them could not be built, and nobody gets past its place.
    """

    route: HttpRoute
    service: HttpService | None
    task_free: bool
    failed: bool = False


class HttpLayers:
    """Builds the service of each route from the layers of plugins.

    A route for which a plugin fails answers 500 until the next `update`, which asks again: its
    layer may be there for authentication.

    Args:
        ask: Asks the plugins for a route: returns the name of each plugin with its layer. Raises
            where one of them fails, and has reported that.
        stages: Names of the stages, the outermost first.
        report: Called for each failure.
    """

    def __init__(
        self,
        ask: Callable[[HttpRoute], Iterable[tuple[str, Any]]],
        stages: Sequence[str],
        report: Report,
    ) -> None:
        self._ask = ask
        self._stages = stages
        self._report = report
        self._built: dict[HttpRoute, BuiltLayers] = {}

    def update(self, routes: Iterable[HttpRoute]) -> None:
        """Build the services of routes that are new, have changed or have failed.

        And forget those of routes that are gone.
        """
        before = self._built
        self._built = {
            route: before[route] if _is_good(before.get(route), route) else self._build(route)
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
        """Return the service of a route, None where no plugin stands around it."""
        return self._built[route].service

    def _build(self, route: HttpRoute) -> BuiltLayers:
        ordered = self._layers(route)
        if ordered is None:
            return BuiltLayers(route, _fail, task_free=True, failed=True)
        if not ordered:
            return BuiltLayers(route, None, task_free=True)
        service: HttpService = _forward
        for staged in reversed(ordered):
            service = staged.layer(service)
        failed = any(staged.layer.failed for staged in ordered)
        return BuiltLayers(route, service, all(staged.task_free for staged in ordered), failed)

    def _layers(self, route: HttpRoute) -> list[StagedLayer[_Guarded]] | None:
        """Return the layers of a route, the outermost first; None where a plugin fails."""
        try:
            given = list(self._ask(route))
        except Exception:  # of a plugin, and reported
            return None
        layers: list[tuple[str, StagedLayer[_Guarded]]] = []
        asked_for = subject(route)
        for plugin, layer in given:
            staged = layer if isinstance(layer, StagedLayer) else StagedLayer("", layer)
            guarded = _Guarded(plugin, staged.layer, self._report, asked_for)
            layers.append((plugin, StagedLayer(staged.stage, guarded, staged.task_free)))
        try:
            return order_layers(layers, self._stages)
        except Exception as error:  # a stage that nobody registers
            self._report(" and ".join(plugin for plugin, _ in layers), _HOOK, error, asked_for)
            return None


def _is_good(built: BuiltLayers | None, route: HttpRoute) -> bool:
    """Return whether layers could be built, for the same route and the same options.

    An info does not compare its options; one that has not changed is the same object.
    """
    if built is None or built.failed:
        return False
    return all(map(is_, built.route.deployments, route.deployments))


class _Guarded:
    """A layer whose failures are answered, and reported with the name of its plugin.

    Attributes:
        failed: It could not be put around a service.
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
                raise TypeError(f"the layer returned {wrapped!r}, which is no service")
        except BaseException as error:  # foreign code
            if is_interrupt(error):
                raise
            self._failed(error)
            self.failed = True
            return _fail

        async def call(request: HttpRequest) -> HttpResponse:
            try:
                response: Any = await wrapped(request)
                if not isinstance(response, HttpResponse):
                    raise TypeError(f"the layer answered {response!r}, which is no HttpResponse")
            except (ClientDisconnected, GeneratorExit):
                raise
            except BaseException as error:  # foreign code; an error of a request is an answer
                if is_interrupt(error) or _is_end(error):
                    raise
                if not isinstance(error, RequestError):
                    self._failed(error)
                return response_to(answer_to(error))
            return response

        return call

    def _failed(self, error: BaseException) -> None:
        self._report(self._plugin, _HOOK, error, self._subject)


def _is_end(error: BaseException) -> bool:
    """Return whether a request is being given up. Without a task that cannot be told from failing.

    A layer without a task then ends as it says, and `Forwarding` answers if the client is there.
    """
    if not isinstance(error, asyncio.CancelledError):
        return False
    return asyncio.current_task() is None or is_cancellation(error)


def _checked(service: HttpService) -> HttpService:
    """Refuse what is no request where a layer passes it on, so that the error names that layer."""

    def call(request: HttpRequest) -> Awaitable[HttpResponse]:
        if not isinstance(request, HttpRequest):
            raise TypeError(f"a layer passes on {request!r}, which is no HttpRequest")
        check_method(request.method)
        if request.identity is not None and not isinstance(request.identity, Identity):
            raise TypeError(f"a layer passes on {request.identity!r}, which is no Identity")
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


def subject(route: HttpRoute) -> str:
    """Return what a plugin was asked for, as people read it."""
    if route.kind == "application":
        return f"route {route.prefix!r} of {route.application!r}"
    return "the proxy's own paths" if route.kind == "system" else "paths without a route"
