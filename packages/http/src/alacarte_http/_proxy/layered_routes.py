"""The layers around each kind of request: of a route, of a system path, of an unmatched path."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from alacarte.types import Call, DeploymentInfo, Reply, Route, RouteTable

from .._local_response import LocalResponse
from .._request_options import RequestOptions
from .._resolved_route import ResolvedRoute
from ..layers import APPLICATION, SYSTEM, UNMATCHED, HttpRoute, HttpService
from .layer_builder import HttpLayers

__all__ = ["UNROUTED", "LayeredRoutes", "RouteLayers", "RouteTarget"]

_SYSTEM = HttpRoute(SYSTEM, "/-/")
_UNMATCHED = HttpRoute(UNMATCHED)


async def _no_service(call: Call) -> Reply:
    """Stand in for the services of a route that does not exist."""
    raise NotImplementedError


UNROUTED = ResolvedRoute(Route("", "", {}), _no_service, _no_service, None, False)
"""The route of requests that the proxy answers itself."""


class RouteLayers(NamedTuple):
    """The layers around one route.

    Attributes:
        route: The route as layers see it.
        service: The layers around the request's own `_forward`.
        task_free: Every layer is free of tasks; see `StagedLayer`.
    """

    route: HttpRoute
    service: HttpService
    task_free: bool


class LayeredRoutes:
    """The layers around the routes of one route table.

    Args:
        layers: Builds the layers of new routes.
        table: All routes.

    Attributes:
        system: Layers around the proxy's own paths, None without layers.
        unmatched: Layers around paths without a route, None without layers.
    """

    def __init__(self, layers: HttpLayers, table: RouteTable) -> None:
        routes = {
            (route.prefix, route.exact): _http_route(route, table)
            for route in table.routes
            if route.prefix
        }
        layers.update([_SYSTEM, _UNMATCHED, *routes.values()])

        def built(route: HttpRoute) -> RouteLayers | None:
            found = layers.built(route)
            if found.service is None:
                return None
            return RouteLayers(route, found.service, found.task_free)

        self.system = built(_SYSTEM)
        self.unmatched = built(_UNMATCHED)
        self._routes = {key: built(route) for key, route in routes.items()}

    def __bool__(self) -> bool:
        return any((self.system, self.unmatched, *self._routes.values()))

    def layers_around(self, resolved: ResolvedRoute | None) -> RouteLayers | None:
        """Return the layers around a route, None without layers.

        Args:
            resolved: The route; None for a path without a route.
        """
        if resolved is None:
            return self.unmatched
        return self._routes[resolved.route.prefix, resolved.route.exact]


def _http_route(route: Route, table: RouteTable) -> HttpRoute:
    infos = tuple(table.deployments.get(each, DeploymentInfo(each)) for each in route.targets)
    return HttpRoute(APPLICATION, route.prefix, route.app, infos)


class RouteTarget(NamedTuple):
    """The layers of a request, and the route or response behind them.

    Attributes:
        layers: The layers around the request.
        resolved: The route behind the layers.
        local_response: Returns the proxy's own response, given the request's options; None where
            an application responds.
    """

    layers: RouteLayers
    resolved: ResolvedRoute
    local_response: Callable[[RequestOptions], LocalResponse] | None = None
