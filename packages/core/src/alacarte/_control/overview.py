"""What is seen of an instance, put together from what its parts tell of themselves. No clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from .._model.plan import Plan
from .._model.tallies import split_key
from ..status import (
    ApplicationStatus,
    ApplicationStatusOverview,
    DeploymentStatusOverview,
    RouteStatusOverview,
    TargetStatusOverview,
)
from ..types import DeploymentId, Route
from .summary import application_status
from .tallies import Tallies

__all__ = ["add_leaving", "application_overview", "routes_overview"]


def application_overview(
    deployments: Mapping[DeploymentId, DeploymentStatusOverview],
    problem: Callable[[DeploymentId], str],
    deployed_at: float,
    prefix: str | None,
) -> ApplicationStatusOverview:
    """Return the status of an application.

    Args:
        problem: What is wrong with a deployment that its replicas do not tell, "" for nothing.
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


def add_leaving(
    found: dict[str, ApplicationStatusOverview],
    deployment: DeploymentId,
    overview: DeploymentStatusOverview,
) -> None:
    """Add a deployment that is to go, and its application with it, if need be."""
    shown = found.get(deployment.app, ApplicationStatusOverview(ApplicationStatus.DELETING))
    deployments = {**shown.deployments, deployment.name: overview}
    found[deployment.app] = replace(shown, deployments=deployments)


def routes_overview(plan: Plan, tallies: Tallies) -> dict[str, RouteStatusOverview]:
    """Return where requests go and what became of them, for status."""

    def shown(
        route: Route, weights: Mapping[DeploymentId, float], shadow: bool
    ) -> dict[str, TargetStatusOverview]:
        key = split_key(route)
        return {
            target.app if plan.ingresses.get(target.app) == target else str(target): (
                TargetStatusOverview(
                    weight,
                    tallies.counts(key, str(target), shadow=shadow) if route.is_split else None,
                )
            )
            for target, weight in weights.items()
        }

    return {
        route.prefix or route.name: RouteStatusOverview(
            route.app,
            None if route.methods is None else tuple(sorted(route.methods)),
            shown(route, route.targets, False),
            shown(route, route.shadows, True),
            tallies.since(split_key(route)),
        )
        for route in plan.routes
    }
