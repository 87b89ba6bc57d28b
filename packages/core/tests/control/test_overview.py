"""The routes in the status: where requests go, and what a plugin has counted of them."""

from __future__ import annotations

from alacarte._control.overview import routes_overview
from alacarte._model.plan import Plan
from alacarte.status import CallCounts, RouteCounts
from alacarte.types import DeploymentId, Route

A, B = DeploymentId("a", "A"), DeploymentId("b", "B")


def test_how_routes_are_shown():
    """By application where the target is its ingress; a route that is not counted has no counts."""
    c = DeploymentId("b", "Other")
    split = Route("/s", "a", {A: 0.9, c: 0.1}, frozenset({"POST", "GET"}), shadows={B: 0.5})
    plain, named = Route("/p", "a", {A: 1.0}), Route("", "e", {A: 1.0}, name="e")
    plan = Plan(routes=(split, plain, named), ingresses={"a": A, "b": B})
    counts = {"/s": RouteCounts(7.0, {"a#A": CallCounts(1)}), "": RouteCounts()}
    shown = routes_overview(plan, lambda route: counts.get(route.prefix))
    assert list(shown) == ["/s", "/p", "e"]
    assert {name: each.weight for name, each in shown["/s"].targets.items()} == {
        "a": 0.9,
        "b#Other": 0.1,
    }
    assert shown["/s"].methods == ("GET", "POST")
    assert shown["/s"].targets["a"].counts == CallCounts(1)
    assert shown["/s"].targets["b#Other"].counts == CallCounts()
    assert shown["/s"].shadows["b"].weight == 0.5
    assert shown["/s"].since == 7.0
    assert (shown["/p"].targets["a"].counts, shown["/p"].methods) == (None, None)
    assert shown["e"].targets["a"].counts == CallCounts()
