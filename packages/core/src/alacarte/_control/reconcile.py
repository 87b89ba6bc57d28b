"""From what is wanted and what is seen to what is to be done, for one deployment. Pure.

The order of a change is decided here: replicas of a new version come up before those of the old
one leave, so an update takes no capacity away. Only when the cluster has no room for both, or
when no surge is allowed, does an old one make place. What is unfit, or on a node that is about to
leave, is replaced in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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
    "as_wanted",
    "given_up",
    "lacking_place",
    "next_wakeup",
    "reconcile",
]

PLACEMENT_PATIENCE_S = 2.0
"""How long a new replica may wait for a place before an old one gives up its own."""
SLOW_START_S = 30.0
"""The same for one that the cluster had room for: most likely its process only starts slowly."""
SECOND_LOOK_S = 0.25
"""For how long looks must find that patience is over before an old one gives up its place.

The controller's own process may have stood still, and what happened meanwhile reaches it only now:
that the new one is up, say.
"""


@dataclass(frozen=True)
class Settings:
    """What a running replica takes over without a restart."""

    max_ongoing: int
    user_config: str
    """As JSON text, so that settings compare by value."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Those that plugins give deployments: plain values by section."""


@dataclass(frozen=True)
class Target:
    """What is wanted of one deployment.

    Attributes:
        version: Digest of what only a new process can take over.
        replicas: How many.
        settings: What a running one can.
        failures_allowed: Failed starts of this version before it is given up.
        surge: Replicas there may be beyond that number, for as long as some are replaced.
        step: Replicas that may be missing meanwhile, where no surge is allowed.
        grace_s: How long a replica that leaves may finish its requests.
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
    """What is seen of one replica.

    Attributes:
        since: When it entered its state, or its turn to start came, on the clock of `now`.
        placed: It has a process.
        had_room: The cluster had room for it when it was asked for.
        fit: Neither do its health checks fail, nor has it refused its settings.
        drain_deadline: Of its node, on the clock of `now`; None when the node stays.
        queued: Nothing has been asked of the cluster for it yet: others start before it.
    """

    replica_id: str
    version: str
    state: ReplicaState
    settings: Settings
    since: float = 0.0
    placed: bool = True
    had_room: bool = False
    fit: bool = True
    drain_deadline: float | None = None
    queued: bool = False


@dataclass(frozen=True)
class Start:
    """Start this many replicas of the target's version."""

    count: int


@dataclass(frozen=True)
class Drain:
    """Let a replica finish what it has, then end it."""

    replica_id: str


@dataclass(frozen=True)
class Reconfigure:
    """Give a running replica the target's settings."""

    replica_id: str


Action = Start | Drain | Reconfigure


def reconcile(
    target: Target | None,
    replicas: Sequence[ReplicaView],
    *,
    failures: int,
    now: float,
    lacking_since: float | None = None,
) -> list[Action]:
    """Return what to do next, best first; nothing when all is as it should be.

    Args:
        target: What is wanted; None for a deployment that is to go.
        replicas: Those that exist, oldest first.
        failures: Starts of the target's version that have failed.
        now: On the same clock as `ReplicaView.since`.
        lacking_since: What `lacking_place` says now.
    """
    if as_wanted(target, replicas):
        return []
    staying = [replica for replica in replicas if replica.state is not ReplicaState.STOPPING]
    if target is None:
        return [Drain(replica.replica_id) for replica in staying]
    new = [replica for replica in staying if _is_wanted(replica, target)]
    old = [replica for replica in staying if not _is_wanted(replica, target)]
    hopeless = given_up(target, new, failures)
    actions: list[Action] = []
    missing = target.replicas - len(new)
    room = target.replicas + target.surge - len(staying)
    if missing > 0 and room > 0 and not hopeless:
        actions.append(Start(min(missing, room)))
    leaving = _excess(new, -missing) + _replaced(target, new, old, hopeless)
    leaving += [each for each in _called_away(target, old, now) if each not in leaving]
    if old and not leaving:
        if not target.surge and not hopeless:
            leaving = _stopped_first(target, new, old, failures)
        elif lacking_since is not None and now >= lacking_since + SECOND_LOOK_S:
            leaving = [old[0]]
    actions += [Drain(replica.replica_id) for replica in leaving]
    if not hopeless:
        staying_new = [replica for replica in new if replica not in leaving]
        actions += [Reconfigure(each.replica_id) for each in _outdated(target, staying_new)]
    return actions


def as_wanted(target: Target | None, replicas: Sequence[ReplicaView]) -> bool:
    """Whether all is as it should be. Nearly always so, hence the one look at each replica."""
    if target is None or len(replicas) != target.replicas:
        return False
    version, settings, running = target.version, target.settings, ReplicaState.RUNNING
    for replica in replicas:
        if (
            replica.state is not running
            or not replica.fit
            or replica.drain_deadline is not None
            or replica.version != version
            or (replica.settings is not settings and replica.settings != settings)
        ):
            return False
    return True


def given_up(target: Target, new: Sequence[ReplicaView], failures: int) -> bool:
    """Whether a version has failed so often that no more of it is started.

    One that has run before is tried again for ever: its code is not what is broken.
    """
    return failures >= target.failures_allowed and not any(
        replica.state in SERVING and replica.settings == target.settings for replica in new
    )


def lacking_place(
    before: float | None,
    target: Target | None,
    replicas: Sequence[ReplicaView],
    *,
    now: float,
    freed: float = 0.0,
) -> float | None:
    """Return since when looks find that an old replica should make place for a new one.

    One at a time: not while one is leaving, or a new one has a place and is about to run.

    Args:
        before: What the look before this one returned.
        freed: When a replica last ended, and left its place to others.
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
    if not any(now >= _patient_until(replica, freed) for replica in asked_for):
        return None
    return now if before is None else before


def next_wakeup(
    replicas: Sequence[ReplicaView],
    *,
    now: float,
    freed: float = 0.0,
    lacking_since: float | None = None,
    grace_s: float = 0.0,
) -> float | None:
    """Return in how many seconds time alone may change the decision, None for never.

    Args:
        freed: As `lacking_place` has it, and `lacking_since` as `reconcile` has it.
    """
    moments = [
        _patient_until(replica, freed)
        for replica in replicas
        if replica.state is ReplicaState.STARTING and not replica.placed and not replica.queued
    ]
    if lacking_since is not None:
        moments.append(lacking_since + SECOND_LOOK_S)
    deadlines = [each.drain_deadline for each in replicas]
    moments += [each - grace_s for each in deadlines if each is not None]
    ahead = [moment - now for moment in moments if moment > now]
    return min(ahead) if ahead else None


def _is_wanted(replica: ReplicaView, target: Target) -> bool:
    return replica.version == target.version and replica.fit and replica.drain_deadline is None


def _excess(new: Sequence[ReplicaView], count: int) -> list[ReplicaView]:
    """Choose replicas that are too many: those still starting first, then the newest."""
    if count <= 0:
        return []
    by_worth = sorted(enumerate(new), key=lambda item: (item[1].state in SERVING, -item[0]))
    return [replica for _, replica in by_worth[:count]]


def _replaced(
    target: Target, new: Sequence[ReplicaView], old: Sequence[ReplicaView], hopeless: bool
) -> list[ReplicaView]:
    """Choose old replicas that new ones have replaced; unfit ones go first."""
    running = sum(replica.state in SERVING for replica in new)
    # Those that never ran have nothing to give up.
    unready = [replica for replica in old if replica.state not in SERVING]
    if hopeless:
        return unready
    ready = sorted(
        (replica for replica in old if replica.state in SERVING), key=lambda each: each.fit
    )
    # Before the first new one runs, more may go only where there are too many for one to start.
    enough = bool(running) or not target.replicas
    keep = target.replicas if enough else target.replicas + max(target.surge - 1, 0)
    return unready + ready[: max(len(ready) + running - keep, 0)]


def _called_away(target: Target, old: Sequence[ReplicaView], now: float) -> list[ReplicaView]:
    """Choose those whose node leaves so soon that they must finish their requests now."""
    return [
        replica
        for replica in old
        if replica.drain_deadline is not None and now >= replica.drain_deadline - target.grace_s
    ]


def _stopped_first(
    target: Target, new: Sequence[ReplicaView], old: Sequence[ReplicaView], failures: int
) -> list[ReplicaView]:
    """Choose old replicas that go before their successors come, where no surge is allowed."""
    running = [replica for replica in new if replica.state in SERVING]
    if failures and not running:
        return []  # the new version has yet to show that it starts
    may_leave = len(running) + len(old) - (target.replicas - target.step)
    return list(old[: max(may_leave, 0)])


def _outdated(target: Target, new: Sequence[ReplicaView]) -> list[ReplicaView]:
    """Choose replicas to be given the target's settings: one, and when that has gone well, all.

    So a `user_config` that makes `reconfigure` raise costs one replica, and not all of them.
    """
    serving = [replica for replica in new if replica.state in SERVING]
    waiting = [
        replica
        for replica in serving
        if replica.settings != target.settings and replica.state is ReplicaState.RUNNING
    ]
    if len(waiting) == len(serving):  # nobody has taken them over, and nobody is about to
        return waiting[:1]
    if any(replica.settings == target.settings for replica in serving):
        return waiting
    return []


def _patient_until(replica: ReplicaView, freed: float) -> float:
    patience = SLOW_START_S if replica.had_room else PLACEMENT_PATIENCE_S
    return max(replica.since, freed) + patience
