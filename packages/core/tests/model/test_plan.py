"""The plan: the deployments and routes of all resources."""

from __future__ import annotations

from dataclasses import replace

import pytest

from alacarte._control.validation import check_plan
from alacarte._model.kinds import ApplicationKind
from alacarte._model.plan import Plan
from alacarte.errors import ConfigError
from alacarte.types import DeploymentId, Expansion, Resource, Route, UserCode

from ..plan_support import KINDS, ROADS, application, planned, road, stored


def test_a_plan_has_all_deployments_and_routes():
    """A plan has the deployments and routes of all resources, and the owner of each deployment."""
    a, b = application("a", "x", "y", prefix="/a"), application("b", "x")
    plan = planned(a, b)
    assert list(plan.deployments) == [
        DeploymentId("a", "x"),
        DeploymentId("a", "y"),
        DeploymentId("b", "x"),
    ]
    assert plan.routes == (Route("/a", "a", {DeploymentId("a", "y"): 1.0}),)
    assert plan.owners[DeploymentId("b", "x")] == ("application", "b")


def test_a_kind_of_a_plugin_takes_part():
    """A plugin's kind takes part by its expansion alone."""
    route = Route("/r", "r", {DeploymentId("a", "x"): 1.0})

    class Redirects:
        name = "redirect"

        def validate(self, resource, others):
            """Accept all."""

        def expand(self, resource):
            return Expansion((), (route,))

    state = stored(application("a", "x"), Resource("redirect", "r", None))
    assert Plan.of(state.resources, {**KINDS, "redirect": Redirects()}).routes == (route,)


def test_a_route_may_name_applications():
    """Applications as targets of a route become their current ingress deployments."""
    a, b = application("a", "x", "y"), application("b", "x")
    weights = {DeploymentId("a", ""): 0.9, DeploymentId("b", "x"): 0.1}
    split = road("/s", weights, shadows={DeploymentId("b", ""): 0.5})
    [route] = planned(split, a, b).routes
    assert route.targets == {DeploymentId("a", "y"): 0.9, DeploymentId("b", "x"): 0.1}
    assert route.shadows == {DeploymentId("b", "x"): 0.5}


def test_a_split_knows_the_versions_of_its_targets():
    """A split route has its targets' versions, so that new code starts new counts."""
    a, b = application("a", "x"), application("b", "x")
    plain = road("/p", {DeploymentId("a", "x"): 1.0})
    split = road("/s", {DeploymentId("a", "x"): 1.0}, shadows={DeploymentId("b", "x"): 1.0})
    first, route = planned(a, b, plain, split).routes
    assert first is plain.spec
    assert route.versions == {DeploymentId("a", "x"): "v1", DeploymentId("b", "x"): "v1"}
    other = replace(route, versions={**route.versions, DeploymentId("b", "x"): "v2"})
    assert other.fingerprint != route.fingerprint


def test_an_overriding_route_replaces_another():
    """A route that overrides hides the other route of its path, until it is deleted."""
    a = application("a", "x", prefix="/a")
    over = road("/a", {DeploymentId("a", "x"): 1.0}, overrides=True)
    plan = planned(a, over)
    check_plan(plan, ROADS)
    assert [route.app for route in plan.routes] == ["/a"]


def test_an_unknown_kind():
    """The error names the resource, its kind, and the known kinds."""
    state = stored(Resource("canary", "shop", None))
    with pytest.raises(ConfigError, match=r"shop: .*'canary'.*\['application'\]"):
        Plan.of(state.resources, KINDS)


class Counting(ApplicationKind):
    """A kind that counts its expansions."""

    def __init__(self) -> None:
        self.expanded: list[str] = []

    def expand(self, resource: Resource) -> Expansion:
        self.expanded.append(resource.name)
        return super().expand(resource)


def test_a_change_expands_only_the_changed_resource():
    """Unchanged resources keep the expansion of the earlier plan."""
    kind = Counting()
    a, b = application("a", "x"), application("b", "x")
    before = Plan.of(stored(a, b).resources, {"application": kind})
    changed = application("b", "x", "y")
    after = Plan.of(stored(a, changed).resources, {"application": kind}, before)
    assert kind.expanded == ["a", "b", "b"]
    x = DeploymentId("a", "x")
    assert after.deployments[x] is before.deployments[x]
    assert after == Plan.of(stored(a, changed).resources, KINDS)


def test_a_fingerprint_is_equal_for_equal_expansions_only():
    """Another object or owner does not change a fingerprint; another version or path does."""
    key = ("application", "a")

    def fingerprint(resource: Resource) -> str:
        return planned(resource).resources[key].fingerprint

    made = application("a", "x", prefix="/a")
    assert fingerprint(made) == fingerprint(application("a", "x", prefix="/a"))
    assert fingerprint(made) != fingerprint(application("a", "x", prefix="/b"))
    [spec] = made.spec.deployments
    newer = replace(made.spec, deployments=(replace(spec, version="v2"),))
    assert fingerprint(made) != fingerprint(replace(made, spec=newer))


@pytest.mark.parametrize("field", ["options", "scaling"])
def test_a_fingerprint_follows_code_in_options(field: str):
    """Another function of the same name in an option changes the fingerprint."""

    def fingerprint(code: bytes) -> str:
        made = application("a", "x")
        [spec] = made.spec.deployments
        values = {"scaler": {"policy": UserCode("shop:policy", code)}}
        changed = replace(made.spec, deployments=(replace(spec, **{field: values}),))
        return planned(replace(made, spec=changed)).resources["application", "a"].fingerprint

    assert fingerprint(b"return 1") == fingerprint(b"return 1")
    assert fingerprint(b"return 1") != fingerprint(b"return 2")


def test_a_resource_knows_its_path():
    """A resource's prefix is None without HTTP."""
    plan = planned(application("a", "x", prefix="/a"), application("b", "x"))
    assert [each.prefix for each in plan.resources.values()] == ["/a", None]
