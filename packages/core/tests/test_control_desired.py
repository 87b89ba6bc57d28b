"""Resources, what they come down to, and how they outlive the controller."""

from __future__ import annotations

from dataclasses import replace

import pytest

from alacarte._control.desired import (
    Desired,
    State,
    check,
    check_replaced,
    expand,
    longest_grace_s,
    target_of,
)
from alacarte._control.reconcile import Settings
from alacarte._model.kinds import ApplicationKind
from alacarte._model.specs import ApplicationSpec, DeploymentSpec
from alacarte._model.tallies import split_key
from alacarte.config import DeploymentConfig
from alacarte.errors import ConfigError, ConflictError
from alacarte.types import DeploymentId, Expansion, Resource, Route

KINDS = {"application": ApplicationKind()}


def application(name: str, *deployments: str, prefix: str | None = None) -> Resource:
    specs = tuple(
        DeploymentSpec(DeploymentId(name, each), "v1", b"code", b"init", False, DeploymentConfig())
        for each in deployments
    )
    spec = ApplicationSpec(name, prefix, specs[-1].id, specs)
    return Resource("application", name, spec)


def stored(*resources: Resource) -> State:
    state = State("instance", {"cluster": {"transport": "auto"}})
    for n, resource in enumerate(resources):
        state = state.with_resource(resource, float(n))
    return state


def test_all_resources_come_down_to_two_lists():
    """Deployments and routes of every resource, and whose each deployment is."""
    a, b = application("a", "x", "y", prefix="/a"), application("b", "x")
    desired = expand(stored(a, b).resources, KINDS)
    assert list(desired.deployments) == [
        DeploymentId("a", "x"),
        DeploymentId("a", "y"),
        DeploymentId("b", "x"),
    ]
    assert desired.routes == (Route("/a", "a", {DeploymentId("a", "y"): 1.0}),)
    assert desired.owners[DeploymentId("b", "x")] == ("application", "b")


def test_a_kind_of_a_plugin_takes_part():
    """The controller knows nothing of a kind but what it expands to."""
    route = Route("/r", "r", {DeploymentId("a", "x"): 1.0})

    class Redirects:
        name = "redirect"

        def validate(self, resource, others):
            """Accept all."""

        def expand(self, resource):
            return Expansion((), (route,))

    state = stored(application("a", "x"), Resource("redirect", "r", None))
    assert expand(state.resources, {**KINDS, "redirect": Redirects()}).routes == (route,)


class Roads:
    """A kind whose resources are routes."""

    name = "road"

    def validate(self, resource, all_of_them):
        """Refuse to be without the application that a resource may name."""
        if isinstance(resource.spec, str) and ("application", resource.spec) not in all_of_them:
            raise ConfigError(f"{resource.name} needs application {resource.spec}")

    def expand(self, resource):
        """Its route, where it has one."""
        return Expansion((), () if isinstance(resource.spec, str) else (resource.spec,))


ROADS = {**KINDS, "road": Roads()}


def road(prefix: str, targets: dict[DeploymentId, float], **options) -> Resource:
    name = options.get("name") or prefix
    return Resource("road", name, Route(prefix, name, targets, **options))


def test_a_route_may_name_applications():
    """They become their ingress deployments, whatever those are called at the time."""
    a, b = application("a", "x", "y"), application("b", "x")
    weights = {DeploymentId("a", ""): 0.9, DeploymentId("b", "x"): 0.1}
    split = road("/s", weights, shadows={DeploymentId("b", ""): 0.5})
    [route] = expand(stored(split, a, b).resources, ROADS).routes
    assert route.targets == {DeploymentId("a", "y"): 0.9, DeploymentId("b", "x"): 0.1}
    assert route.shadows == {DeploymentId("b", "x"): 0.5}


def test_a_split_knows_the_versions_of_its_targets():
    """With new code, what is counted begins anew; a plain route stays the very same."""
    a, b = application("a", "x"), application("b", "x")
    plain = road("/p", {DeploymentId("a", "x"): 1.0})
    split = road("/s", {DeploymentId("a", "x"): 1.0}, shadows={DeploymentId("b", "x"): 1.0})
    first, route = expand(stored(a, b, plain, split).resources, ROADS).routes
    assert first is plain.spec
    assert route.versions == {DeploymentId("a", "x"): "v1", DeploymentId("b", "x"): "v1"}
    other = replace(route, versions={**route.versions, DeploymentId("b", "x"): "v2"})
    assert split_key(other) != split_key(route)


def test_an_overriding_route_goes_in_front():
    """The other one of its path waits behind it, for the day when it is gone."""
    a = application("a", "x", prefix="/a")
    over = road("/a", {DeploymentId("a", "x"): 1.0}, overrides=True)
    resources = stored(a, over).resources
    check(resources, ROADS)
    assert [route.app for route in expand(resources, ROADS).routes] == ["/a"]


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        (
            [application("old", "x", prefix="/a"), application("new", "x", prefix="/a")],
            "new: route prefix /a is used by application old; choose another, or delete",
        ),
        (
            [application("a", "x", prefix="/a"), road("/a", {DeploymentId("a", "x"): 1.0})],
            "/a: route prefix /a is used by application a",
        ),
        (
            [
                application("a", "x"),
                road("/s", {DeploymentId("a", "x"): 1.0}, name="n"),
                Resource("road", "m", Route("/t", "m", {DeploymentId("a", "x"): 1.0}, name="n")),
            ],
            "m: route name 'n' is used by road n",
        ),
        (
            [
                application("a", "x"),
                road("/s", {DeploymentId("a", "x"): 1.0}, overrides=True),
                Resource("road", "m", Route("/s", "m", {DeploymentId("a", "x"): 1.0}, name="n")),
            ],
            "m: route prefix /s is used by road /s",
        ),
        (
            [application("a", "x"), road("/s", {DeploymentId("b", ""): 1.0})],
            r"route /s: there is no application 'b'; there are applications \['a'\]",
        ),
        (
            [application("a", "x"), road("/s", {DeploymentId("a", "y"): 1.0})],
            "route /s: there is no deployment a#y",
        ),
        (
            [application("a", "x"), Resource("road", "r", "b")],
            "r needs application b",
        ),
    ],
)
def test_what_cannot_exist_together(resources, message):
    """The error says what of whom stands in the way."""
    with pytest.raises(ConfigError, match=message):
        check(stored(*resources).resources, ROADS)


def test_no_two_resources_make_up_one_application():
    """An application belongs to whoever made it, also to a resource of another kind."""

    class Twins(ApplicationKind):
        name = "twin"

    first = application("a", "x")
    second = Resource("twin", "b", first.spec)
    with pytest.raises(ConfigError, match="b: application name 'a' is used by application a"):
        check(stored(first, second).resources, {**KINDS, "twin": Twins()})


def test_what_may_stand_side_by_side():
    """Other prefixes, one below another, none at all."""
    resources = [
        application("a", "x", prefix="/a"),
        application("below", "x", prefix="/a/b"),
        application("off", "x"),
        application("off2", "x"),
    ]
    check(stored(*resources).resources, KINDS)


def test_nobody_s_change_is_undone_unseen():
    """What is there must be what was thought, or what is wanted already."""
    old, mine, theirs = application("a", "x"), application("a", "y"), application("a", "z")
    key = ("application", "a")
    check_replaced([mine], {key: old}, {key: application("a", "x")})
    check_replaced([mine], {key: old}, {key: application("a", "y")})
    check_replaced([mine], {key: None}, {})
    check_replaced([mine], {}, {key: theirs})
    for thought, there in [(old, {key: theirs}), (None, {key: theirs}), (old, {})]:
        with pytest.raises(ConflictError, match="application 'a' was changed by somebody else"):
            check_replaced([mine], {key: thought}, there)


def test_a_kind_nobody_gives():
    """The error names the resource, its kind, and the kinds there are."""
    state = stored(Resource("canary", "shop", None))
    with pytest.raises(ConfigError, match=r"shop: .*'canary'.*\['application'\]"):
        expand(state.resources, KINDS)


def test_a_resource_takes_the_place_of_its_namesake():
    """Applied again it is replaced, in its place and with a new time; kinds keep names apart."""
    state = stored(application("a", "x"), application("b", "x"), application("a", "y"))
    key = ("application", "a")
    assert list(state.resources) == [key, ("application", "b")]
    assert state.resources[key].spec.ingress.name == "y"
    assert state.deployed_at[key] == 2.0
    left = state.without(key)
    assert (list(left.resources), list(left.deployed_at)) == ([("application", "b")],) * 2
    assert left.without(key) == left


def test_what_a_running_replica_can_take_over():
    """The target holds settings by value and counts failures by the number of replicas."""
    config = DeploymentConfig(num_replicas=2, user_config={"a": [1]}, max_ongoing_requests=7)
    spec = DeploymentSpec(DeploymentId("a", "x"), "v", b"", b"", False, config)
    target = target_of(spec)
    assert target.settings == Settings(7, '{"a": [1]}')
    assert (target.version, target.replicas, target.failures_allowed) == ("v", 2, 6)


def test_an_ending_has_the_time_of_its_longest_application():
    """Callees wait for their callers, so the times of one application add up; none is no time."""

    def of(app: str, name: str, grace_s: float) -> DeploymentSpec:
        config = DeploymentConfig(graceful_shutdown_timeout_s=grace_s)
        return DeploymentSpec(DeploymentId(app, name), "v", b"", b"", False, config)

    specs = [of("a", "one", 20), of("a", "two", 120), of("b", "one", 30)]
    wanted = Desired({spec.id: spec for spec in specs}, (), {})
    assert longest_grace_s(wanted) == 140
    assert longest_grace_s(Desired({}, (), {})) == 0
