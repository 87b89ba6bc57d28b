"""Which layers stand around which request: every route, the proxy's own paths, and all others."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from alacarte.types import Call, DeploymentInfo, Reply, Route, RouteTable

from .._calls import ResolvedRoute
from .._errors import Answer
from .._request_options import RequestOptions
from ..layers import APPLICATION, SYSTEM, UNMATCHED, HttpRoute, HttpService
from .layer_builder import HttpLayers

__all__ = ["NOWHERE", "Around", "LayeredRoutes", "RouteTarget"]

_SYSTEM = HttpRoute(SYSTEM, "/-/")
_UNMATCHED = HttpRoute(UNMATCHED)


async def _no_service(call: Call) -> Reply:
    """Stand in for the services of a route that does not exist."""
    raise NotImplementedError


NOWHERE = ResolvedRoute(Route("", "", {}), _no_service, _no_service, None, False)
"""Where a request goes on to that the proxy answers itself."""


class Around(NamedTuple):
    """The layers around one route.

    Attributes:
        route: As the layers see it.
        service: The layers, around the way on that each request carries.
        task_free: See `StagedLayer`; true of all of them.
    """

    route: HttpRoute
    service: HttpService
    task_free: bool


class LayeredRoutes:
    """The routes that layers stand around, at one moment.

    Args:
        layers: Builds what is new.
        table: All routes.

    Attributes:
        system: Around the proxy's own paths; None without layers.
        unmatched: Around paths that no route takes; None without layers.
    """

    def __init__(self, layers: HttpLayers, table: RouteTable) -> None:
        seen = {
            (route.prefix, route.exact): _seen(route, table)
            for route in table.routes
            if route.prefix
        }
        layers.update([_SYSTEM, _UNMATCHED, *seen.values()])

        def around(route: HttpRoute) -> Around | None:
            built = layers.built(route)
            if built.service is None:
                return None
            return Around(route, built.service, built.task_free)

        self.system = around(_SYSTEM)
        self.unmatched = around(_UNMATCHED)
        self._routes = {key: around(route) for key, route in seen.items()}

    def __bool__(self) -> bool:
        return any((self.system, self.unmatched, *self._routes.values()))

    def around(self, resolved: ResolvedRoute | None) -> Around | None:
        """Return the layers around a route, None without.

        Args:
            resolved: None for a path that no route takes.
        """
        if resolved is None:
            return self.unmatched
        return self._routes[resolved.route.prefix, resolved.route.exact]


def _seen(route: Route, table: RouteTable) -> HttpRoute:
    infos = tuple(table.deployments.get(each, DeploymentInfo(each)) for each in route.targets)
    return HttpRoute(APPLICATION, route.prefix, route.app, infos)


class RouteTarget(NamedTuple):
    """Where a request goes.

    Attributes:
        around: The layers that it passes.
        resolved: Where they pass it on to.
        answer: Answers in place of an application, given the request's options; None where an
            application does.
    """

    around: Around
    resolved: ResolvedRoute
    answer: Callable[[RequestOptions], Answer] | None = None
