"""The desired state, and facts that follow from a plan."""

from __future__ import annotations

from alacarte._control.desired_state import longest_grace_s, target_of
from alacarte._control.reconcile import Settings
from alacarte._model.deployment_spec import DeploymentSpec
from alacarte._model.plan import Plan
from alacarte.config import DeploymentConfig
from alacarte.types import DeploymentId

from ..plan_support import application, stored


def test_a_resource_takes_the_place_of_its_namesake():
    """A resource replaces the one of its kind and name, at the same position with a new time."""
    state = stored(application("a", "x"), application("b", "x"), application("a", "y"))
    key = ("application", "a")
    assert list(state.resources) == [key, ("application", "b")]
    assert state.resources[key].spec.ingress.name == "y"
    assert state.deployed_at[key] == 2.0
    left = state.without(key)
    assert (list(left.resources), list(left.deployed_at)) == ([("application", "b")],) * 2
    assert left.without(key) == left


def test_what_a_running_replica_can_take_over():
    """The target has settings that compare by value, and a failure limit by number of replicas."""
    config = DeploymentConfig(num_replicas=2, user_config={"a": [1]}, max_ongoing_requests=7)
    spec = DeploymentSpec(DeploymentId("a", "x"), "v", b"", b"", False, config)
    target = target_of(spec)
    assert target.settings == Settings(7, '{"a": [1]}')
    assert (target.version, target.replicas, target.failures_allowed) == ("v", 2, 6)


def test_an_ending_has_the_time_of_its_longest_application():
    """Grace periods add up within an application; without an application the sum is 0."""

    def of(app: str, name: str, grace_s: float) -> DeploymentSpec:
        config = DeploymentConfig(graceful_shutdown_timeout_s=grace_s)
        return DeploymentSpec(DeploymentId(app, name), "v", b"", b"", False, config)

    specs = [of("a", "one", 20), of("a", "two", 120), of("b", "one", 30)]
    wanted = Plan({spec.id: spec for spec in specs})
    assert longest_grace_s(wanted) == 140
    assert longest_grace_s(Plan()) == 0
