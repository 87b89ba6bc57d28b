"""Reconciliation of one deployment: from target and replicas to actions. Pure.

Decides the order of a change. Replicas of the new version start before replicas of the old version
drain, so an update keeps its capacity. An old replica makes room first only if the cluster has no
room for both, or if no surge is allowed. Unhealthy replicas, and those on draining nodes, are
replaced in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..status import ReplicaState
from .lifecycle import SERVING

__all__ = [
    "Action",
    "Drain",
    "Reconfigure",
    "ReplicaView",
    "Settings",
    "Start",
    "Target",
    "matches_target",
    "deploy_failed",
    "placement_blocked_since",
    "next_wakeup",
    "reconcile",
]

PLACEMENT_TIMEOUT_S = 2.0
"""Time that a new replica waits for resources before an old replica makes room."""
SLOW_START_S = 30.0
"""The same if the cluster had room for the new replica: its process most likely starts slowly."""
CONFIRMATION_S = 0.25
"""Time that a timeout must persist before an old replica makes room.

The controller's process may have been suspended, and older events, such as the start of the new
replica, may reach it only now.
"""


@dataclass(frozen=True)
class Settings:
    """Settings that a running replica applies without a restart."""

    max_ongoing: int
    user_config: str
    """JSON, so that settings compare by value."""
    options: Mapping[str, object] = field(default_factory=dict)
    """Deployment options of plugins: plain values by section."""


@dataclass(frozen=True)
class Target:
    """Desired state of one deployment.

    Attributes:
        version: Digest of everything that needs a new process.
        replicas: Number of replicas.
        settings: Settings that running replicas can apply.
        failures_allowed: Failed starts of this version before the deployment has failed.
        surge: Additional replicas allowed during an update.
        step: Replicas that may be missing during an update, if no surge is allowed.
        grace_s: Time that a draining replica has for its requests.
    """

    version: str
    replicas: int
    settings: Settings
    failures_allowed: int
    surge: int = 1000
    step: int = 1
    grace_s: float = 20.0


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """Observed state of one replica.

    Attributes:
        since: Time at which it entered its state or got its start permit, on the clock of `now`.
        placed: It has a process.
        had_resources: The cluster had the resources for it at first.
        healthy: Its health checks pass, and its settings applied without an error.
        drain_deadline: Deadline of its draining node, on the clock of `now`; None if the node
            stays.
        queued: It waits for a start permit, and has not requested resources yet.
    """

    replica_id: str
    version: str
    state: ReplicaState
    settings: Settings
    since: float = 0.0
    placed: bool = True
    had_resources: bool = False
    healthy: bool = True
    drain_deadline: float | None = None
    queued: bool = False


@dataclass(frozen=True)
class Start:
    """Start this many replicas of the target's version."""

    count: int


@dataclass(frozen=True)
class Drain:
    """Let a replica finish its requests, then end it."""

    replica_id: str


@dataclass(frozen=True)
class Reconfigure:
    """Apply the target's settings to a running replica."""

    replica_id: str


Action = Start | Drain | Reconfigure


def reconcile(
    target: Target | None,
    replicas: Sequence[ReplicaView],
    *,
    failures: int,
    now: float,
    blocked_since: float | None = None,
) -> list[Action]:
    """Return the next actions in order of priority, [] if the replicas match the target.

    Args:
        target: Desired state; None for a deployment that is being deleted.
        replicas: Existing replicas, oldest first.
        failures: Failed starts of the target's version.
        now: Time on the clock of `ReplicaView.since`.
        blocked_since: Current result of `placement_blocked_since`.
    """
    if matches_target(target, replicas):
        return []
    active = [replica for replica in replicas if replica.state is not ReplicaState.STOPPING]
    if target is None:
        return [Drain(replica.replica_id) for replica in active]
    new = [replica for replica in active if _is_wanted(replica, target)]
    old = [replica for replica in active if not _is_wanted(replica, target)]
    failed = deploy_failed(target, new, failures)
    actions: list[Action] = []
    missing = target.replicas - len(new)
    free_slots = target.replicas + target.surge - len(active)
    if missing > 0 and free_slots > 0 and not failed:
        actions.append(Start(min(missing, free_slots)))
    to_drain = _excess(new, -missing) + _replaced(target, new, old, failed)
    to_drain += [each for each in _past_drain_deadline(target, old, now) if each not in to_drain]
    if old and not to_drain:
        if not target.surge and not failed:
            to_drain = _stopped_first(target, new, old, failures)
        elif blocked_since is not None and now >= blocked_since + CONFIRMATION_S:
            to_drain = [old[0]]
    actions += [Drain(replica.replica_id) for replica in to_drain]
    if not failed:
        kept = [replica for replica in new if replica not in to_drain]
        actions += [Reconfigure(each.replica_id) for each in _outdated(target, kept)]
    return actions


def matches_target(target: Target | None, replicas: Sequence[ReplicaView]) -> bool:
    """Return whether the replicas match the target. The fast path of every pass."""
    if target is None or len(replicas) != target.replicas:
        return False
    version, settings, running = target.version, target.settings, ReplicaState.RUNNING
    for replica in replicas:
        if (
            replica.state is not running
            or not replica.healthy
            or replica.drain_deadline is not None
            or replica.version != version
            or (replica.settings is not settings and replica.settings != settings)
        ):
            return False
    return True


def deploy_failed(target: Target, new: Sequence[ReplicaView], failures: int) -> bool:
    """Return whether a version has failed too often to start more replicas of it.

    A version that runs with the target's settings is retried without end: its code works.
    """
    return failures >= target.failures_allowed and not any(
        replica.state in SERVING and replica.settings == target.settings for replica in new
    )


def placement_blocked_since(
    before: float | None,
    target: Target | None,
    replicas: Sequence[ReplicaView],
    *,
    now: float,
    freed: float = 0.0,
) -> float | None:
    """Return the time since which a new replica has waited too long for resources, None if none.

    An old replica should then make room: one at a time, so None while a replica drains or a new
    one is placed.

    Args:
        before: Result of the previous call.
        freed: Time at which a replica last ended and freed its resources.
    """
    if target is None or any(each.state is ReplicaState.STOPPING for each in replicas):
        return None
    starting = [
        replica
        for replica in replicas
        if replica.state is ReplicaState.STARTING and _is_wanted(replica, target)
    ]
    if any(replica.placed for replica in starting):
        return None
    asked_for = [replica for replica in starting if not replica.queued]
    if not any(now >= _placement_due_at(replica, freed) for replica in asked_for):
        return None
    return now if before is None else before


def next_wakeup(
    replicas: Sequence[ReplicaView],
    *,
    now: float,
    freed: float = 0.0,
    blocked_since: float | None = None,
    grace_s: float = 0.0,
) -> float | None:
    """Return the seconds after which time alone may change the actions, None for never.

    Args:
        freed: As in `placement_blocked_since`.
        blocked_since: As in `reconcile`.
    """
    moments = [
        _placement_due_at(replica, freed)
        for replica in replicas
        if replica.state is ReplicaState.STARTING and not replica.placed and not replica.queued
    ]
    if blocked_since is not None:
        moments.append(blocked_since + CONFIRMATION_S)
    deadlines = [each.drain_deadline for each in replicas]
    moments += [each - grace_s for each in deadlines if each is not None]
    ahead = [moment - now for moment in moments if moment > now]
    return min(ahead) if ahead else None


def _is_wanted(replica: ReplicaView, target: Target) -> bool:
    return replica.version == target.version and replica.healthy and replica.drain_deadline is None


def _excess(new: Sequence[ReplicaView], count: int) -> list[ReplicaView]:
    """Choose surplus replicas: starting ones first, then the newest."""
    if count <= 0:
        return []
    by_worth = sorted(enumerate(new), key=lambda item: (item[1].state in SERVING, -item[0]))
    return [replica for _, replica in by_worth[:count]]


def _replaced(
    target: Target, new: Sequence[ReplicaView], old: Sequence[ReplicaView], failed: bool
) -> list[ReplicaView]:
    """Choose old replicas that new ones have replaced; unhealthy ones first."""
    running = sum(replica.state in SERVING for replica in new)
    # Replicas that do not serve give up no capacity.
    unready = [replica for replica in old if replica.state not in SERVING]
    if failed:
        return unready
    ready = sorted(
        (replica for replica in old if replica.state in SERVING), key=lambda each: each.healthy
    )
    # Before the first new replica runs, drain only as many as must make room for its start.
    enough = bool(running) or not target.replicas
    keep = target.replicas if enough else target.replicas + max(target.surge - 1, 0)
    return unready + ready[: max(len(ready) + running - keep, 0)]


def _past_drain_deadline(
    target: Target, old: Sequence[ReplicaView], now: float
) -> list[ReplicaView]:
    """Choose replicas that must drain now to finish before their node's drain deadline."""
    return [
        replica
        for replica in old
        if replica.drain_deadline is not None and now >= replica.drain_deadline - target.grace_s
    ]


def _stopped_first(
    target: Target, new: Sequence[ReplicaView], old: Sequence[ReplicaView], failures: int
) -> list[ReplicaView]:
    """Choose old replicas that drain before their successors start, if no surge is allowed."""
    running = [replica for replica in new if replica.state in SERVING]
    if failures and not running:
        return []  # the new version has not shown yet that it starts
    may_leave = len(running) + len(old) - (target.replicas - target.step)
    return list(old[: max(may_leave, 0)])


def _outdated(target: Target, new: Sequence[ReplicaView]) -> list[ReplicaView]:
    """Choose replicas to apply the target's settings to: one first, after its success all.

    So a `user_config` that makes `reconfigure` raise costs one replica, not all.
    """
    serving = [replica for replica in new if replica.state in SERVING]
    waiting = [
        replica
        for replica in serving
        if replica.settings != target.settings and replica.state is ReplicaState.RUNNING
    ]
    if len(waiting) == len(serving):  # no replica has applied the settings or is applying them
        return waiting[:1]
    if any(replica.settings == target.settings for replica in serving):
        return waiting
    return []


def _placement_due_at(replica: ReplicaView, freed: float) -> float:
    timeout_s = SLOW_START_S if replica.had_resources else PLACEMENT_TIMEOUT_S
    return max(replica.since, freed) + timeout_s
