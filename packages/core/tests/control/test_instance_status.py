"""The status of routes, and of applications with a failing plugin."""

from __future__ import annotations

from alacarte._control.instance_status import add_layer_failures, routes_overview
from alacarte._model.plan import Plan
from alacarte.status import (
    ApplicationStatus,
    ApplicationStatusOverview,
    CallCounts,
    DeploymentStatus,
    DeploymentStatusOverview,
    DeploymentStatusTrigger,
    PluginFailure,
    RouteCounts,
)
from alacarte.types import DeploymentId, Route

A, B = DeploymentId("a", "A"), DeploymentId("b", "B")


def test_how_routes_are_shown():
    """A route shows its application if the target is the ingress; counts are optional."""
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


def test_an_application_whose_layer_could_not_be_built_says_so():
    """The message names the plugin until the next deploy; the deployment's own message wins."""

    def shown(message: str = "", since: float = 5.0) -> ApplicationStatusOverview:
        deployments = {
            "A": DeploymentStatusOverview(
                DeploymentStatus.HEALTHY, DeploymentStatusTrigger.CONFIG_UPDATE_COMPLETED
            )
        }
        return ApplicationStatusOverview(ApplicationStatus.RUNNING, message, since, deployments)

    def failure(app: str, hook: str = "wrap_caller", subject: str = "deployment ") -> PluginFailure:
        return PluginFailure("keys", hook, f"{subject}{app}#A", "KeyError: 'x'", at=7.0)

    found = {
        "bad": shown(),
        "again": shown(since=8.0),
        "own": shown("no memory"),
        "called": shown(),
        "metered": shown(),
        "good": shown(),
    }
    failures = [failure(app) for app in ("bad", "again", "own")]
    failures += [
        failure("called", subject="calls to deployment "),
        failure("metered", "make_meter"),
    ]
    add_layer_failures(found, failures)
    assert {app: each.message for app, each in found.items() if each.message} == {
        "bad": "calls to A fail: plugin keys could not build its layer (wrap_caller): "
        "KeyError: 'x'",
        "own": "no memory",
    }
