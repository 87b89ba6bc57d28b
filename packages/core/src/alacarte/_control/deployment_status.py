"""Status of deployments and applications, from targets and replicas. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from ..status import (
    ApplicationStatus,
    DeploymentStatus,
    DeploymentStatusOverview,
    DeploymentStatusTrigger,
    ReplicaState,
)
from .lifecycle import SERVING
from .reconcile import ReplicaView, Target, deploy_failed, matches_target

__all__ = [
    "Change",
    "Condition",
    "application_status",
    "change_between",
    "condition_of",
    "overview_of",
    "settled",
    "waiting_for",
]

_Status, _Trigger = DeploymentStatus, DeploymentStatusTrigger


class Change(Enum):
    """Kind of the last requested change: its status, and the triggers at its start and end."""

    CONFIG = (_Status.UPDATING, _Trigger.CONFIG_UPDATE_STARTED, _Trigger.CONFIG_UPDATE_COMPLETED)
    UP = (_Status.UPSCALING, _Trigger.CONFIG_UPDATE_STARTED, _Trigger.UPSCALE_COMPLETED)
    DOWN = (_Status.DOWNSCALING, _Trigger.CONFIG_UPDATE_STARTED, _Trigger.DOWNSCALE_COMPLETED)
    AUTO_UP = (_Status.UPSCALING, _Trigger.AUTOSCALING, _Trigger.UPSCALE_COMPLETED)
    AUTO_DOWN = (_Status.DOWNSCALING, _Trigger.AUTOSCALING, _Trigger.DOWNSCALE_COMPLETED)


@dataclass(frozen=True)
class Condition:
    """A deployment's status, with the state that its next status depends on.

    Attributes:
        since: Time of the last change of status, in seconds since 1970.
        reached: The last requested change has completed once.
    """

    status: DeploymentStatus = _Status.UPDATING
    trigger: DeploymentStatusTrigger = _Trigger.CONFIG_UPDATE_STARTED
    since: float = 0.0
    reached: bool = field(default=False, compare=False)


def change_between(before: Target | None, after: Target, *, automatic: bool) -> Change:
    """Return the kind of change from one target to another.

    Args:
        automatic: Autoscaling has chosen the new target.
    """
    if (
        before is None
        or (before.version, before.settings) != (after.version, after.settings)
        or before.replicas == after.replicas
    ):
        return Change.CONFIG
    if after.replicas > before.replicas:
        return Change.AUTO_UP if automatic else Change.UP
    return Change.AUTO_DOWN if automatic else Change.DOWN


def condition_of(
    before: Condition,
    change: Change,
    target: Target | None,
    replicas: Sequence[ReplicaView],
    *,
    failures: int,
    now: float,
) -> Condition:
    """Return a deployment's next condition.

    Args:
        before: The last condition; with `reached` False after each requested change.
        change: The last requested change.
        failures: As in `reconcile`.
        now: Time in seconds since 1970.
    """
    if before.reached and before.status is _Status.HEALTHY and matches_target(target, replicas):
        return before
    status, trigger, reached = _now(before, change, target, replicas, failures)
    if (status, trigger) == (before.status, before.trigger) and before.since:
        return before if reached == before.reached else replace(before, reached=reached)
    return Condition(status, trigger, now, reached)


def _now(
    before: Condition,
    change: Change,
    target: Target | None,
    replicas: Sequence[ReplicaView],
    failures: int,
) -> tuple[DeploymentStatus, DeploymentStatusTrigger, bool]:
    if target is None:
        return _Status.UPDATING, _Trigger.DELETING, False
    under_way, started, completed = change.value
    new = [replica for replica in replicas if replica.version == target.version]
    if deploy_failed(target, new, failures):
        return _Status.DEPLOY_FAILED, _Trigger.REPLICA_STARTUP_FAILED, before.reached
    serving = [replica for replica in new if replica.state in SERVING]
    # Draining replicas of another version count: some callers still wait for their replies.
    done = (
        len(serving) >= target.replicas
        and len(new) == len(replicas)
        and all(replica.settings == target.settings for replica in serving)
    )
    # Surplus replicas count only during a requested change: a migration has more for a while.
    if done and (before.reached or len(serving) == target.replicas):
        if not all(replica.healthy for replica in serving):
            return _Status.UNHEALTHY, _Trigger.HEALTH_CHECK_FAILED, True
        if before.status in (_Status.UNHEALTHY, _Status.DEPLOY_FAILED):
            return _Status.HEALTHY, _Trigger.UNSPECIFIED, True
        if before.reached and before.status is _Status.HEALTHY:
            return before.status, before.trigger, True
        return _Status.HEALTHY, completed, True
    if not before.reached:
        return under_way, started, False
    if any(not replica.healthy for replica in new):
        return _Status.UNHEALTHY, _Trigger.HEALTH_CHECK_FAILED, True
    if before.status is _Status.UNHEALTHY:
        return before.status, before.trigger, True
    return _Status.UNHEALTHY, _Trigger.UNSPECIFIED, True


def waiting_for(
    target: Target | None, replicas: Sequence[ReplicaView], *, failures: int, pause_s: float
) -> list[str]:
    """Return the events that a deployment waits for, each as a noun phrase.

    Args:
        pause_s: Seconds until the next replica may start, after failures.
    """
    found = []
    states = Counter(replica.state for replica in replicas)
    if target is None:
        return [f"the end of {_count(len(replicas))}"] if replicas else []
    new = [replica for replica in replicas if replica.version == target.version]
    if deploy_failed(target, new, failures):
        return [f"a new deploy (this version failed to start {_times(failures)})"]
    starting = [replica for replica in replicas if replica.state is ReplicaState.STARTING]
    queued = sum(replica.queued for replica in starting)  # with a message of their own
    unplaced = sum(not replica.placed and not replica.queued for replica in starting)
    constructing = len(starting) - unplaced - queued
    if unplaced:
        noun = "process" if unplaced == 1 else "processes"
        found.append(f"the {noun} of {_count(unplaced)}")
    if constructing:
        found.append(f"the constructor of {_count(constructing)}")
    if states[ReplicaState.RECOVERING]:
        found.append(f"an answer from {_count(states[ReplicaState.RECOVERING])}")
    if states[ReplicaState.UPDATING]:
        found.append(f"reconfigure of {_count(states[ReplicaState.UPDATING])}")
    missing = target.replicas - sum(each.healthy and each.drain_deadline is None for each in new)
    if missing > 0 and pause_s > 0:
        found.append(f"the end of the {pause_s:.1f} s backoff after the last failure")
    outdated = sum(each.version != target.version and each.state in SERVING for each in replicas)
    if outdated:
        found.append(f"the replacement of {_count(outdated)} of another version")
    if states[ReplicaState.STOPPING]:
        found.append(f"the last requests of {_count(states[ReplicaState.STOPPING])}")
    return found


def overview_of(
    condition: Condition,
    target: Target | None,
    replicas: Sequence[ReplicaView],
    message: str,
) -> DeploymentStatusOverview:
    """Return a deployment's status without details."""
    return DeploymentStatusOverview(
        condition.status,
        condition.trigger,
        dict(Counter(replica.state.value for replica in replicas)),
        "" if condition.status is _Status.HEALTHY else message,
        condition.since,
        target_replicas=target.replicas if target else 0,
    )


def application_status(deployments: Sequence[DeploymentStatusOverview]) -> ApplicationStatus:
    """Return an application's status: the worst of its deployments'."""
    seen = {deployment.status for deployment in deployments}
    if DeploymentStatus.DEPLOY_FAILED in seen:
        return ApplicationStatus.DEPLOY_FAILED
    if DeploymentStatus.UNHEALTHY in seen:
        return ApplicationStatus.UNHEALTHY
    # No driver waits for autoscaling: the application stays RUNNING meanwhile.
    changing = [
        each
        for each in deployments
        if each.status is not _Status.HEALTHY and each.status_trigger is not _Trigger.AUTOSCALING
    ]
    return ApplicationStatus.DEPLOYING if changing else ApplicationStatus.RUNNING


def settled(status: ApplicationStatus) -> bool:
    """Return whether a deploy has ended, with success or failure."""
    return status in (ApplicationStatus.RUNNING, ApplicationStatus.DEPLOY_FAILED)


def _count(number: int) -> str:
    return "a replica" if number == 1 else f"{number} replicas"


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
