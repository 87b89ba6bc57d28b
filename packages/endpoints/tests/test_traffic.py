"""Splits of applications on the local cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from alacarte import serve
from alacarte.calls import python_call
from alacarte.errors import ConfigError, ServeError
from alacarte.runtime import get_runtime
from alacarte.status import RouteStatusOverview
from alacarte.testing import wait_until
from alacarte.types import DeploymentId
from alacarte_endpoints import Client, delete_traffic, set_traffic, shadow_traffic


@serve.deployment
def answer() -> None: ...


@pytest.fixture
def route(client: Client) -> Callable[[], RouteStatusOverview]:
    """Two applications; the first has the path "/app"."""
    serve.run(answer.bind(), name="stable", route_prefix="/app")
    serve.run(answer.bind(), name="canary", route_prefix=None)
    return lambda: serve.status().routes["/app"]


Route = Callable[[], RouteStatusOverview]


def weights(route: RouteStatusOverview) -> dict[str, float]:
    return {app: target.weight for app, target in route.targets.items()}


def test_a_canary_and_its_end(route: Route) -> None:
    """One call splits a path, another deletes the split; both can be repeated."""
    for _ in range(2):
        set_traffic("/app", {"stable": 0.9, "canary": 0.1})
        assert weights(route()) == {"stable": 0.9, "canary": 0.1}
    for _ in range(2):
        delete_traffic("/app")
        assert weights(route()) == {"stable": 1.0}


def test_the_owner_may_have_no_part(route: Route) -> None:
    """The owner of a split path can be deleted when other applications get all requests."""
    set_traffic("/app", {"canary": 1})
    serve.delete("stable")
    assert weights(route()) == {"canary": 1.0}
    set_traffic("/app", {"canary": 1.0})
    with pytest.raises(ConfigError, match="no application is named 'stable'; existing: 'canary'"):
        set_traffic("/app", {"canary": 0.5, "stable": 0.5})
    delete_traffic("/app")
    assert "/app" not in serve.status().routes


def test_who_takes_a_path_that_is_split(
    route: Route, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """A new application may take a split path, with a log of its targets; an endpoint may not."""
    set_traffic("/app", {"canary": 1})
    serve.delete("stable")
    with caplog.at_level("INFO", "alacarte"):
        serve.run(answer.bind(), name="new", route_prefix="/app")
    assert "but another route overrides its own: requests go to 'canary'" in caplog.text
    delete_traffic("/app")
    assert weights(route()) == {"new": 1.0}
    set_traffic("/app", {"canary": 1})
    serve.delete("new")
    client.create_backend("b", lambda request: None)
    with pytest.raises(ConfigError, match="route prefix /app is used by traffic /app"):
        client.create_endpoint("e", backend="b", route="/app")


def test_shadows_leave_nothing(route: Route) -> None:
    """After the last shadow, the path is unsplit, and its applications can be deleted."""
    shadow_traffic("/app", "canary", 0.5)
    shadow_traffic("/app", "canary", 0)
    assert route().targets["stable"].counts is None
    serve.delete("stable")


def test_a_new_version_is_counted_anew(route: Route) -> None:
    """New code of a target restarts its counts."""
    set_traffic("/app", {"stable": 0.5, "canary": 0.5})
    runtime, name = get_runtime(), DeploymentId("", "/app")

    def ask() -> None:
        call = python_call("__call__", (), {})
        runtime.submit(runtime.service(name)(call)).result(30)

    def total() -> int:
        counts = [each.counts for each in route().targets.values()]
        return sum(each.requests for each in counts if each is not None)

    for _ in range(5):
        ask()
    wait_until(lambda: total() == 5, 30)
    fixed = answer.options(ray_actor_options={"num_cpus": 0}).bind()
    serve.run(fixed, name="canary", route_prefix=None)
    assert total() == 0
    ask()
    wait_until(lambda: total() == 1, 30)


def test_an_application_in_use_stays(route: Route) -> None:
    """An application in a split cannot be deleted."""
    set_traffic("/app", {"stable": 0.9, "canary": 0.1})
    with pytest.raises(ConfigError, match=r"the traffic of /app needs the application 'canary'"):
        serve.delete("canary")
    set_traffic("/app", {"stable": 1})
    serve.delete("canary")


def test_shadows(route: Route) -> None:
    """Shadows keep the path with its application, survive new weights, and end with share 0."""
    shadow_traffic("/app", "canary", 0)
    assert not route().shadows
    assert route().targets["stable"].counts is None
    shadow_traffic("/app", "canary", 0.5)
    assert weights(route()) == {"stable": 1.0}
    assert route().shadows["canary"].weight == 0.5
    set_traffic("/app", {"stable": 0.5, "canary": 0.5})
    assert route().shadows["canary"].weight == 0.5
    shadow_traffic("/app", "canary", 0)
    assert not route().shadows
    assert weights(route()) == {"stable": 0.5, "canary": 0.5}


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (lambda: set_traffic("/x", {"stable": 1}), ConfigError, "no application has the path '/x'"),
        (lambda: shadow_traffic("/x", "stable", 1), ConfigError, "existing paths: '/app'"),
        (lambda: set_traffic("/app", {"x": 1}), ConfigError, "existing: 'stable', 'canary'"),
        (lambda: shadow_traffic("/app", "x", 1), ConfigError, "no application is named 'x'"),
        (lambda: set_traffic("/app", {"stable": 0.9}), ConfigError, "of /app: weights must sum"),
        (lambda: set_traffic("app", {"stable": 1}), ConfigError, 'must begin with "/"'),
        (lambda: set_traffic("/app", "stable"), TypeError, "must be a dict"),
        (lambda: shadow_traffic("/app", "canary", 2), TypeError, "must be from 0 to 1"),
    ],
)
def test_what_is_refused(
    route: Route, change: Callable[[], Any], kind: type[Exception], message: str
) -> None:
    """The error has the existing names or the allowed values; the split is unchanged."""
    with pytest.raises(kind, match=message):
        change()
    assert weights(route()) == {"stable": 1.0}
    delete_traffic("/x")


def test_a_backend_is_no_application(route: Route, client: Client) -> None:
    """Backends cannot be targets of an application's path."""
    client.create_backend("b", lambda request: None)
    with pytest.raises(ConfigError, match="no application is named 'b'"):
        set_traffic("/app", {"b": 1})


def test_without_an_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that nothing runs."""
    monkeypatch.setenv("ALACARTE_CLUSTER", "local")
    for change in (
        lambda: set_traffic("/", {"a": 1}),
        lambda: shadow_traffic("/", "a", 1),
        lambda: delete_traffic("/"),
    ):
        with pytest.raises(ServeError, match="not running"):
            change()
