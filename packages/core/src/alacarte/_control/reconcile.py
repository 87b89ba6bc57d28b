"""From what is wanted and what is seen to what is to be done, for one deployment. Pure.

The order of a change is decided here: replicas of a new version come up before those of the old
one leave, so an update takes no capacity away. Only when the cluster has no room for both does
an old one make place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..status import ReplicaState

__all__ = [
    "Action",
    "Drain",
    "Reconfigure",
    "ReplicaView",
    "Settings",
    "Start",
    "Target",
    "given_up",
    "next_look",
    "reconcile",
]

PLACEMENT_PATIENCE_S = 2.0
"""How long a new replica may wait for a place before an old one gives up its own."""
SLOW_START_S = 30.0
"""The same for one that the cluster had room for: most likely its process only starts slowly."""


@dataclass(frozen=True)
class Settings:
    """What a running replica takes over without a restart."""

    max_ongoing: int
    user_config: str
    """As JSON text, so that settings compare by value."""


@dataclass(frozen=True)
class Target:
    """What is wanted of one deployment.

    Attributes:
        version: Digest of what only a new process can take over.
        replicas: How many.
        settings: What a running one can.
        failures_allowed: Failed starts of this version before it is given up.
    """

    version: str
    replicas: int
    settings: Settings
    failures_allowed: int


@dataclass(frozen=True)
class ReplicaView:
    """What is seen of one replica.

    Attributes:
        since: When it entered its state, on the clock of `now`.
        placed: It has a process.
        had_room: The cluster had room for it when it was asked for.
    """

    replica_id: str
    version: str
    state: ReplicaState
    settings: Settings
    since: float = 0.0
    placed: bool = True
    had_room: bool = False


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
    freed: float = 0.0,
) -> list[Action]:
    """Return what to do next, best first; nothing when all is as it should be.

    Args:
        target: What is wanted; None for a deployment that is to go.
        replicas: Those that exist, oldest first.
        failures: Starts of the target's version that have failed.
        now: On the same clock as `ReplicaView.since`.
        freed: When a replica last ended, and left its place to others.
    """
    staying = [replica for replica in replicas if replica.state is not ReplicaState.STOPPING]
    if target is None:
        return [Drain(replica.replica_id) for replica in staying]
    new = [replica for replica in staying if replica.version == target.version]
    old = [replica for replica in staying if replica.version != target.version]
    actions: list[Action] = []
    missing = target.replicas - len(new)
    if missing > 0 and not given_up(target, new, failures):
        actions.append(Start(missing))
    actions += [Drain(replica.replica_id) for replica in _excess(new, -missing)]
    actions += [Drain(replica.replica_id) for replica in _replaced(target, new, old)]
    if old and not any(isinstance(action, Drain) for action in actions):
        # One at a time: none is leaving, and no new one has a place and is about to run.
        if len(staying) == len(replicas) and _need_place(new, now, freed):
            actions += [Drain(old[0].replica_id)]
    leaving = {action.replica_id for action in actions if isinstance(action, Drain)}
    actions += [
        Reconfigure(replica.replica_id)
        for replica in new
        if replica.state is ReplicaState.RUNNING
        and replica.settings != target.settings
        and replica.replica_id not in leaving
    ]
    return actions


def given_up(target: Target, new: Sequence[ReplicaView], failures: int) -> bool:
    """Whether a version has failed so often that no more of it is started.

    One that has run before is tried again for ever: its code is not what is broken.
    """
    return failures >= target.failures_allowed and not any(
        replica.state is ReplicaState.RUNNING for replica in new
    )


def next_look(replicas: Sequence[ReplicaView], *, now: float, freed: float = 0.0) -> float | None:
    """Return in how many seconds time alone may change the decision, None for never."""
    waiting = [
        _patient_until(replica, freed) - now
        for replica in replicas
        if replica.state is ReplicaState.STARTING and not replica.placed
    ]
    ahead = [delay for delay in waiting if delay > 0]
    return min(ahead) if ahead else None


def _excess(new: Sequence[ReplicaView], count: int) -> list[ReplicaView]:
    """Choose replicas that are too many: those still starting first, then the newest."""
    if count <= 0:
        return []
    by_worth = sorted(
        enumerate(new), key=lambda item: (item[1].state is ReplicaState.RUNNING, -item[0])
    )
    return [replica for _, replica in by_worth[:count]]


def _replaced(
    target: Target, new: Sequence[ReplicaView], old: Sequence[ReplicaView]
) -> list[ReplicaView]:
    """Choose old replicas that new ones have replaced."""
    running = sum(replica.state is ReplicaState.RUNNING for replica in new)
    # Those that never ran have nothing to give up.
    unready = [replica for replica in old if replica.state is ReplicaState.STARTING]
    ready = [replica for replica in old if replica.state is ReplicaState.RUNNING]
    relieved = running or not target.replicas
    surplus = max(len(ready) + running - target.replicas, 0) if relieved else 0
    return unready + ready[:surplus]


def _need_place(new: Sequence[ReplicaView], now: float, freed: float) -> bool:
    """Whether one has waited for long, and none that has a place is still starting."""
    starting = [replica for replica in new if replica.state is ReplicaState.STARTING]
    return not any(replica.placed for replica in starting) and any(
        now >= _patient_until(replica, freed) for replica in starting
    )


def _patient_until(replica: ReplicaView, freed: float) -> float:
    patience = SLOW_START_S if replica.had_room else PLACEMENT_PATIENCE_S
    return max(replica.since, freed) + patience
