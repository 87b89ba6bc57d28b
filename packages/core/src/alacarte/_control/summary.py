"""How deployments and applications are doing, from what is wanted and seen. Pure."""

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
from .reconcile import ReplicaView, Target, as_wanted, given_up

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
    """What was asked for last, as the statuses on the way there and at its end."""

    CONFIG = (_Status.UPDATING, _Trigger.CONFIG_UPDATE_STARTED, _Trigger.CONFIG_UPDATE_COMPLETED)
    UP = (_Status.UPSCALING, _Trigger.CONFIG_UPDATE_STARTED, _Trigger.UPSCALE_COMPLETED)
    DOWN = (_Status.DOWNSCALING, _Trigger.CONFIG_UPDATE_STARTED, _Trigger.DOWNSCALE_COMPLETED)
    AUTO_UP = (_Status.UPSCALING, _Trigger.AUTOSCALING, _Trigger.UPSCALE_COMPLETED)
    AUTO_DOWN = (_Status.DOWNSCALING, _Trigger.AUTOSCALING, _Trigger.DOWNSCALE_COMPLETED)


@dataclass(frozen=True)
class Condition:
    """A deployment's status, and what it takes to find the next one.

    Attributes:
        since: When it came into its status, in seconds since 1970.
        reached: What was asked for last has been reached once.
    """

    status: DeploymentStatus = _Status.UPDATING
    trigger: DeploymentStatusTrigger = _Trigger.CONFIG_UPDATE_STARTED
    since: float = 0.0
    reached: bool = field(default=False, compare=False)


def change_between(before: Target | None, after: Target, *, automatic: bool) -> Change:
    """Return what kind of change leads from one target to another.

    Args:
        automatic: Autoscaling asks for it.
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
    """Return a deployment's condition.

    Args:
        before: Its last one; one that is not `reached` after each change.
        change: What was asked for last.
        failures: As `reconcile` takes them.
        now: In seconds since 1970.
    """
    if before.reached and before.status is _Status.HEALTHY and as_wanted(target, replicas):
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
    if given_up(target, new, failures):
        return _Status.DEPLOY_FAILED, _Trigger.REPLICA_STARTUP_FAILED, before.reached
    serving = [replica for replica in new if replica.state in SERVING]
    # Those of another version that are leaving count: some may still hear their answers.
    done = (
        len(serving) >= target.replicas
        and len(new) == len(replicas)
        and all(replica.settings == target.settings for replica in serving)
    )
    # Too many are too many only while somebody waits for fewer; a migration has more for a while.
    if done and (before.reached or len(serving) == target.replicas):
        if not all(replica.fit for replica in serving):
            return _Status.UNHEALTHY, _Trigger.HEALTH_CHECK_FAILED, True
        if before.status in (_Status.UNHEALTHY, _Status.DEPLOY_FAILED):
            return _Status.HEALTHY, _Trigger.UNSPECIFIED, True
        if before.reached and before.status is _Status.HEALTHY:
            return before.status, before.trigger, True
        return _Status.HEALTHY, completed, True
    if not before.reached:
        return under_way, started, False
    if any(not replica.fit for replica in new):
        return _Status.UNHEALTHY, _Trigger.HEALTH_CHECK_FAILED, True
    if before.status is _Status.UNHEALTHY:
        return before.status, before.trigger, True
    return _Status.UNHEALTHY, _Trigger.UNSPECIFIED, True


def waiting_for(
    target: Target | None, replicas: Sequence[ReplicaView], *, failures: int, pause_s: float
) -> list[str]:
    """Return what must happen for a deployment to be as it should, each in a few words.

    Args:
        pause_s: For how much longer no replica is started, after failures.
    """
    found = []
    states = Counter(replica.state for replica in replicas)
    if target is None:
        return [f"{_count(len(replicas))} to end"] if replicas else []
    new = [replica for replica in replicas if replica.version == target.version]
    if given_up(target, new, failures):
        return ["a new version: this one is started no more"]
    starting = [replica for replica in replicas if replica.state is ReplicaState.STARTING]
    queued = sum(replica.queued for replica in starting)  # which say so themselves
    unplaced = sum(not replica.placed and not replica.queued for replica in starting)
    constructing = len(starting) - unplaced - queued
    if unplaced:
        found.append(f"a process for {_count(unplaced)}")
    if constructing:
        found.append(f"the constructor of {_count(constructing)}")
    if states[ReplicaState.RECOVERING]:
        found.append(f"a word from {_count(states[ReplicaState.RECOVERING])}")
    if states[ReplicaState.UPDATING]:
        found.append(f"reconfigure of {_count(states[ReplicaState.UPDATING])}")
    missing = target.replicas - sum(each.fit and each.drain_deadline is None for each in new)
    if missing > 0 and pause_s > 0:
        found.append(f"{pause_s:.1f} s to be over after the last failure")
    leaving = sum(each.version != target.version and each.state in SERVING for each in replicas)
    if leaving:
        found.append(f"successors for {_count(leaving)} of another version")
    if states[ReplicaState.STOPPING]:
        found.append(f"the last requests of {_count(states[ReplicaState.STOPPING])}")
    return found


def overview_of(
    condition: Condition,
    target: Target | None,
    replicas: Sequence[ReplicaView],
    message: str,
) -> DeploymentStatusOverview:
    """Return what a deployment's condition looks like from outside; details are added to it."""
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
    # Autoscaling is nobody's deployment: the application runs on meanwhile.
    waited_for = [
        each
        for each in deployments
        if each.status is not _Status.HEALTHY and each.status_trigger is not _Trigger.AUTOSCALING
    ]
    return ApplicationStatus.DEPLOYING if waited_for else ApplicationStatus.RUNNING


def settled(status: ApplicationStatus) -> bool:
    """Whether waiting for a deployment is over, for better or worse."""
    return status in (ApplicationStatus.RUNNING, ApplicationStatus.DEPLOY_FAILED)


def _count(number: int) -> str:
    return "a replica" if number == 1 else f"{number} replicas"
