"""The layers around each kind of request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from alacarte.layers import STAGES
from alacarte.types import DeploymentId, DeploymentInfo, Route, RouteTable, StagedLayer
from alacarte_http._proxy.layer_builder import HttpLayers
from alacarte_http._proxy.layered_routes import LayeredRoutes
from alacarte_http._proxy.route_index import RouteIndex
from alacarte_http._resolved_route import ResolvedRoute
from alacarte_http.layers import APPLICATION, SYSTEM, UNMATCHED, HttpRoute, HttpService

SHOP, BANK = DeploymentId("shop", "Desk"), DeploymentId("bank", "Desk")
Gives = Callable[[HttpRoute], list[tuple[str, Any]]]


def layer(service: HttpService) -> HttpService:
    async def call(request: Any) -> Any:
        return await service(request)

    return call


def layered(gives: Gives, *routes: Route, infos: tuple[DeploymentInfo, ...] = ()) -> LayeredRoutes:
    def never(*failure: object) -> None:
        raise AssertionError(failure)

    table = RouteTable(1, routes, deployments={info.id: info for info in infos})
    return LayeredRoutes(HttpLayers(gives, STAGES, never), table)


def resolved(*routes: Route) -> Callable[[str], ResolvedRoute | None]:
    service: Any = None
    return RouteIndex(routes, lambda route: service, lambda route: service).match


def test_every_path_belongs_to_one_kind():
    """Hooks run once for each route, for the proxy's own paths, and for unmatched paths."""
    asked: list[HttpRoute] = []

    def gives(route: HttpRoute) -> list[tuple[str, Any]]:
        asked.append(route)
        return [("plugin", layer)]

    routes = Route("/shop", "shop", {SHOP: 1.0}), Route("/bank", "bank", {BANK: 1.0})
    found = layered(gives, *routes)
    assert sorted((route.kind, route.prefix, route.application) for route in asked) == [
        (APPLICATION, "/bank", "bank"),
        (APPLICATION, "/shop", "shop"),
        (SYSTEM, "/-/", ""),
        (UNMATCHED, "", ""),
    ]
    match = resolved(*routes)
    around = [found.layers_around(match(path)) for path in ("/shop/x", "/bank", "/nowhere")]
    assert [each and each.route.application for each in around] == ["shop", "bank", ""]
    assert around[2] is found.unmatched
    assert found.system is not None
    assert found.system.route.kind == SYSTEM


def test_only_some_routes_have_layers():
    """Routes without layers have None, and the table is true."""
    routes = Route("/shop", "shop", {SHOP: 1.0}), Route("/bank", "bank", {BANK: 1.0})
    found = layered(
        lambda route: [("plugin", layer)] if route.application == "bank" else [], *routes
    )
    match = resolved(*routes)
    assert found.layers_around(match("/shop")) is None
    assert found.layers_around(match("/bank")) is not None
    assert (found.system, found.layers_around(None)) == (None, None)
    assert found


def test_without_layers_it_is_empty():
    """Without any layer, the table is false."""
    assert not layered(lambda route: [], Route("/shop", "shop", {SHOP: 1.0}))


def test_an_exact_route_is_another_one():
    """An exact route and a prefix of the same path have separate layers."""
    routes = (
        Route("/shop", "shop", {SHOP: 1.0}),
        Route("/shop", "bank", {BANK: 1.0}, exact=True),
    )
    found = layered(lambda route: [("plugin", layer)], *routes)
    match = resolved(*routes)
    below, exact = found.layers_around(match("/shop/x")), found.layers_around(match("/shop"))
    assert below is not None
    assert exact is not None
    assert (below.route.application, exact.route.application) == ("shop", "bank")


def test_a_route_without_a_path_has_no_layers():
    """A route without a path gets no layers."""
    asked: list[HttpRoute] = []

    def gives(route: HttpRoute) -> list[tuple[str, Any]]:
        asked.append(route)
        return []

    layered(gives, Route("", "shop", {SHOP: 1.0}, name="shop"))
    assert {route.kind for route in asked} == {SYSTEM, UNMATCHED}


def test_layers_see_all_deployments_of_a_split():
    """Layers see the info of each deployment of a split, or at least its name."""
    asked: list[HttpRoute] = []

    def gives(route: HttpRoute) -> list[tuple[str, Any]]:
        asked.append(route)
        return []

    known = DeploymentInfo(SHOP, "v2")
    layered(gives, Route("/r", "r", {SHOP: 0.5, BANK: 0.5}), infos=(known,))
    [route] = [each for each in asked if each.kind == APPLICATION]
    assert [(info.id, info.version) for info in route.deployments] == [
        (SHOP, "v2"),
        (BANK, DeploymentInfo(BANK).version),
    ]
    assert route.deployments[0] is known


def test_a_route_is_free_of_tasks_only_with_all_of_its_layers():
    """A route needs a task if one of its layers does."""
    free = StagedLayer("", layer, task_free=True)
    for given, task_free in (([free, free], True), ([free, layer], False)):
        found = layered(lambda route, given=given: [("a", given[0]), ("b", given[1])])
        assert found.unmatched is not None
        assert found.unmatched.task_free is task_free
