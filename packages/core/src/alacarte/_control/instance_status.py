"""Status of an instance, assembled from the status of its parts. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from .._model.plan import Plan
from ..status import (
    ApplicationStatus,
    ApplicationStatusOverview,
    CallCounts,
    DeploymentStatusOverview,
    PluginFailure,
    RouteCounts,
    RouteStatusOverview,
    TargetStatusOverview,
)
from ..types import DeploymentId, Route
from .deployment_status import application_status

__all__ = ["add_layer_failures", "add_deleted", "application_overview", "routes_overview"]

_LAYER_HOOKS = ("wrap_caller", "wrap_replica")


def application_overview(
    deployments: Mapping[DeploymentId, DeploymentStatusOverview],
    problem: Callable[[DeploymentId], str],
    deployed_at: float,
    prefix: str | None,
) -> ApplicationStatusOverview:
    """Return the status of an application.

    Args:
        problem: Returns a deployment's problem that its replicas do not know, "" for none.
    """
    failed = [each.message for each in deployments.values() if each.message]
    return ApplicationStatusOverview(
        application_status(list(deployments.values())),
        failed[0] if failed else "",
        deployed_at,
        {
            deployment.name: replace(each, message=each.message or problem(deployment))
            for deployment, each in deployments.items()
        },
        prefix,
    )


def add_deleted(
    found: dict[str, ApplicationStatusOverview],
    deployment: DeploymentId,
    overview: DeploymentStatusOverview,
) -> None:
    """Add a deployment that is being deleted, and its application if necessary."""
    shown = found.get(deployment.app, ApplicationStatusOverview(ApplicationStatus.DELETING))
    deployments = {**shown.deployments, deployment.name: overview}
    found[deployment.app] = replace(shown, deployments=deployments)


def add_layer_failures(
    found: dict[str, ApplicationStatusOverview], failures: Iterable[PluginFailure]
) -> None:
    """Set the message of each application whose layer failed to build since its deployment.

    Args:
        failures: Plugin failures, the latest last.
    """
    built_for = {failure.subject: failure for failure in failures if failure.hook in _LAYER_HOOKS}
    for app, shown in found.items():
        for name in () if shown.message else shown.deployments:
            failure = built_for.get(f"deployment {DeploymentId(app, name)}")
            if failure is not None and failure.at >= shown.last_deployed_time_s:
                message = (
                    f"calls to {name} fail: plugin {failure.plugin} could not build its layer "
                    f"({failure.hook}): {failure.message}"
                )
                found[app] = replace(shown, message=message)
                break


def routes_overview(
    plan: Plan, counts_of: Callable[[Route], RouteCounts | None]
) -> dict[str, RouteStatusOverview]:
    """Return the targets of each route and the counts of their requests, for the status.

    Args:
        counts_of: Returns a plugin's counts of a route, None if no plugin counts it.
    """

    def shown(
        weights: Mapping[DeploymentId, float], counts: Mapping[str, CallCounts] | None
    ) -> dict[str, TargetStatusOverview]:
        return {
            target.app if plan.ingresses.get(target.app) == target else str(target): (
                TargetStatusOverview(
                    weight, None if counts is None else counts.get(str(target), CallCounts())
                )
            )
            for target, weight in weights.items()
        }

    def overview(route: Route) -> RouteStatusOverview:
        counts = counts_of(route)
        return RouteStatusOverview(
            route.app,
            None if route.methods is None else tuple(sorted(route.methods)),
            shown(route.targets, None if counts is None else counts.targets),
            shown(route.shadows, None if counts is None else counts.shadows),
            0.0 if counts is None else counts.since,
        )

    return {route.prefix or route.name: overview(route) for route in plan.routes}
