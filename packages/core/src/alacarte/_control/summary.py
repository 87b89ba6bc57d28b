"""How deployments and applications are doing, from what is wanted and seen. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..status import (
    ApplicationStatus,
    DeploymentStatus,
    DeploymentStatusOverview,
    DeploymentStatusTrigger,
    ReplicaState,
)
from .reconcile import ReplicaView, Target, given_up

__all__ = ["application_status", "deployment_status", "settled"]


def deployment_status(
    target: Target | None,
    replicas: Sequence[ReplicaView],
    *,
    failures: int,
    was_healthy: bool,
    message: str,
) -> DeploymentStatusOverview:
    """Return a deployment's status.

    Args:
        was_healthy: It has reached the target before.
        message: The last failure.
    """
    states = dict(Counter(replica.state.value for replica in replicas))
    if target is None:
        return DeploymentStatusOverview(
            DeploymentStatus.UPDATING, DeploymentStatusTrigger.DELETING, states, message
        )
    new = [replica for replica in replicas if replica.version == target.version]
    running = sum(replica.state is ReplicaState.RUNNING for replica in new)
    # Those that are leaving count: until they have gone, some may still hear their answers.
    old = [replica for replica in replicas if replica.version != target.version]
    current = all(
        replica.settings == target.settings
        for replica in new
        if replica.state is ReplicaState.RUNNING
    )
    if given_up(target, new, failures):
        status = DeploymentStatus.DEPLOY_FAILED
        trigger = DeploymentStatusTrigger.REPLICA_STARTUP_FAILED
    elif running == target.replicas and current and not old:
        status = DeploymentStatus.HEALTHY
        trigger = DeploymentStatusTrigger.CONFIG_UPDATE_COMPLETED
        message = ""
    elif was_healthy and running < target.replicas:
        status = DeploymentStatus.UNHEALTHY
        trigger = DeploymentStatusTrigger.UNSPECIFIED
    else:
        status = DeploymentStatus.UPDATING
        trigger = DeploymentStatusTrigger.CONFIG_UPDATE_STARTED
    return DeploymentStatusOverview(status, trigger, states, message)


def application_status(deployments: Sequence[DeploymentStatusOverview]) -> ApplicationStatus:
    """Return an application's status: the worst of its deployments'."""
    seen = {deployment.status for deployment in deployments}
    if DeploymentStatus.DEPLOY_FAILED in seen:
        return ApplicationStatus.DEPLOY_FAILED
    if DeploymentStatus.UNHEALTHY in seen:
        return ApplicationStatus.UNHEALTHY
    if seen <= {DeploymentStatus.HEALTHY}:
        return ApplicationStatus.RUNNING
    return ApplicationStatus.DEPLOYING


def settled(status: ApplicationStatus) -> bool:
    """Whether waiting for a deployment is over, for better or worse."""
    return status in (ApplicationStatus.RUNNING, ApplicationStatus.DEPLOY_FAILED)
