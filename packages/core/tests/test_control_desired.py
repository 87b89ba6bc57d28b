"""Resources, what they come down to, and how they outlive the controller."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alacarte._control.desired import (
    FORMAT,
    Desired,
    State,
    decode_state,
    encode_state,
    expand,
    longest_grace_s,
    target_of,
)
from alacarte._control.reconcile import Settings
from alacarte._model.kinds import ApplicationKind
from alacarte._model.specs import ApplicationSpec, DeploymentSpec
from alacarte.config import DeploymentConfig
from alacarte.errors import ConfigError
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
    state = State("instance", b"secret", {"cluster": {"transport": "auto"}})
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


@given(
    names=st.lists(st.text(min_size=1), unique=True, max_size=5),
    secret=st.binary(max_size=40),
    stopping=st.booleans(),
)
def test_a_checkpoint_gives_back_the_state(names: list[str], secret: bytes, stopping: bool):
    """Whatever is stored is read again as it was."""
    state = State("i", secret, {"http": {"port": 8000}}, stopping=stopping)
    for n, name in enumerate(names):
        state = state.with_resource(application(name, "x", prefix=f"/{n}"), float(n))
    assert decode_state(encode_state(state)) == state


@pytest.mark.parametrize("found", [FORMAT - 1, FORMAT + 1])
def test_a_checkpoint_of_another_format_is_refused(found: int):
    """The error names both formats; nothing is guessed."""
    data = pickle.dumps((found, b"a pickle of classes that are not known here"))
    with pytest.raises(ConfigError, match=f"format {found}; this version reads {FORMAT}"):
        decode_state(data)


def test_an_ending_has_the_time_of_its_longest_application():
    """Callees wait for their callers, so the times of one application add up; none is no time."""

    def of(app: str, name: str, grace_s: float) -> DeploymentSpec:
        config = DeploymentConfig(graceful_shutdown_timeout_s=grace_s)
        return DeploymentSpec(DeploymentId(app, name), "v", b"", b"", False, config)

    specs = [of("a", "one", 20), of("a", "two", 120), of("b", "one", 30)]
    wanted = Desired({spec.id: spec for spec in specs}, (), {})
    assert longest_grace_s(wanted) == 140
    assert longest_grace_s(Desired({}, (), {})) == 0
