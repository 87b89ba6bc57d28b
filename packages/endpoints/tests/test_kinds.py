from __future__ import annotations

import pickle
from typing import Any

import pytest

from alacarte.errors import ConfigError, InternalError
from alacarte.types import DeploymentId, Expansion, Resource
from alacarte_endpoints._new_backend import new_backend
from alacarte_endpoints.config import BackendConfig
from alacarte_endpoints.kinds import (
    BackendKind,
    BackendSpec,
    EndpointKind,
    EndpointSpec,
    TrafficKind,
    TrafficSpec,
)


def answer(request: Any) -> str:
    return "yes"


def backend(tag: str) -> BackendSpec:
    return new_backend(tag, answer, (), None, BackendConfig(), None)


def everything(*resources: Resource) -> dict[tuple[str, str], Resource]:
    return {(each.kind, each.name): each for each in resources}


A, B = (Resource("backend", tag, backend(tag)) for tag in "ab")
APPS = [Resource("application", name, None) for name in ("stable", "canary")]


def test_a_backend_is_one_deployment() -> None:
    """A backend has the deployment and application of its tag, and no route."""
    spec = A.spec
    expansion = BackendKind().expand(A)
    assert expansion == Expansion((spec.deployment,))
    assert spec.deployment.id == DeploymentId("a", "a")
    BackendKind().validate(A, everything(A))


def test_options_change_without_a_restart() -> None:
    """Other options change the deployment, but not its version."""
    before = A.spec
    after = before.configured(
        BackendConfig(
            num_replicas=3,
            max_batch_size=4,
            batch_wait_timeout=1,
            max_concurrent_queries=9,
            user_config=1,
            experimental_graceful_shutdown_timeout_s=7,
        )
    )
    assert after.deployment.version == before.deployment.version
    config = after.deployment.config
    assert (config.num_replicas, config.max_ongoing_requests) == (3, 9)
    assert config.graceful_shutdown_timeout_s == 7
    assert config.ray_actor_options == before.deployment.config.ray_actor_options
    assert config.user_config == {
        "max_batch_size": 4,
        "batch_wait_timeout_s": 1.0,
        "user_config": 1,
    }


def test_specs_pickle() -> None:
    """Specs pickle, and compare equal afterwards."""
    for spec in (A.spec, EndpointSpec("a", "/a"), TrafficSpec({"a": 1.0})):
        assert pickle.loads(pickle.dumps(spec)) == spec


def test_an_endpoint_is_a_route() -> None:
    """An endpoint's route matches its exact path and methods, with its backend as target."""
    [route] = EndpointKind().expand(Resource("endpoint", "e", EndpointSpec("a", "/e"))).routes
    assert (route.prefix, route.exact, route.methods) == ("/e", True, frozenset({"GET"}))
    assert (route.app, route.name, route.overrides) == ("e", "e", False)
    assert route.targets == {DeploymentId("a", "a"): 1.0}
    assert route.shadows == {}
    assert route.is_split


def test_traffic_of_an_endpoint() -> None:
    """Weights replace the initial backend; shadows are separate."""
    spec = EndpointSpec("a", traffic={"b": 1.0, "c": 0.0}, shadows={"d": 0.5})
    [route] = EndpointKind().expand(Resource("endpoint", "e", spec)).routes
    assert route.prefix == ""
    assert route.targets == {DeploymentId("b", "b"): 1.0, DeploymentId("c", "c"): 0.0}
    assert route.shadows == {DeploymentId("d", "d"): 0.5}
    assert spec.backends == {"b", "c", "d"}


@pytest.mark.parametrize(
    "spec",
    [
        EndpointSpec("b"),
        EndpointSpec("a", traffic={"a": 1.0, "b": 0.0}),
        EndpointSpec("a", shadows={"b": 1.0}),
    ],
)
def test_an_endpoint_needs_its_backends(spec: EndpointSpec) -> None:
    """An endpoint without one of its backends is refused."""
    endpoint = Resource("endpoint", "e", spec)
    EndpointKind().validate(endpoint, everything(A, B, endpoint))
    with pytest.raises(ConfigError, match="endpoint 'e' needs the backend 'b'; existing: a;"):
        EndpointKind().validate(endpoint, everything(A, endpoint))


def test_a_split_goes_in_front() -> None:
    """A split has the path of an application, and the application of the greatest weight."""
    spec = TrafficSpec({"canary": 0.1, "stable": 0.9}, {"next": 0.5})
    [route] = TrafficKind().expand(Resource("traffic", "/x", spec)).routes
    assert (route.prefix, route.name, route.app) == ("/x", "/x", "stable")
    assert route.overrides
    assert not route.exact
    assert route.methods is None
    assert route.targets == {DeploymentId("canary", ""): 0.1, DeploymentId("stable", ""): 0.9}
    assert route.shadows == {DeploymentId("next", ""): 0.5}


def test_a_split_needs_its_applications() -> None:
    """A split without one of its applications is refused, even with a backend of that name."""
    split = Resource("traffic", "/x", TrafficSpec({"stable": 1.0}, {"canary": 0.5}))
    TrafficKind().validate(split, everything(*APPS, split))
    namesake = Resource("backend", "canary", backend("canary"))
    with pytest.raises(ConfigError, match="the traffic of /x needs the application 'canary'"):
        TrafficKind().validate(split, everything(APPS[0], namesake, split))


def test_a_spec_of_another_kind() -> None:
    """A spec of the wrong type is an InternalError."""
    with pytest.raises(InternalError, match="endpoint e holds TrafficSpec"):
        EndpointKind().expand(Resource("endpoint", "e", TrafficSpec({"a": 1.0})))
