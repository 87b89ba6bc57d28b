"""A replica's life as a table. What the table does not hold cannot happen, and raises."""

from __future__ import annotations

from enum import Enum

from ..errors import InternalError
from ..status import ReplicaState

__all__ = ["SERVING", "ReplicaEvent", "advance"]

SERVING = frozenset((ReplicaState.RUNNING, ReplicaState.UPDATING, ReplicaState.PENDING_MIGRATION))
"""States of replicas that answer requests."""


class ReplicaEvent(Enum):
    """What can happen to a replica."""

    READY = "its constructor has returned and it listens"
    FAILED = "its constructor raised, or its process did not come up"
    UPDATE = "it is to take over new settings"
    UPDATED = "it has taken them over, or refused them"
    MIGRATE = "its node is about to leave"
    STAY = "its node stays after all"
    DRAIN = "it is to leave"
    IDLE = "its last request has ended"
    DIED = "its process is gone"


_STARTING, _RUNNING = ReplicaState.STARTING, ReplicaState.RUNNING
_UPDATING, _MIGRATING = ReplicaState.UPDATING, ReplicaState.PENDING_MIGRATION
_RECOVERING = ReplicaState.RECOVERING
_STOPPING, _STOPPED = ReplicaState.STOPPING, ReplicaState.STOPPED

TRANSITIONS = {
    (_STARTING, ReplicaEvent.READY): _RUNNING,
    (_STARTING, ReplicaEvent.FAILED): _STOPPED,
    (_STARTING, ReplicaEvent.DIED): _STOPPED,
    (_STARTING, ReplicaEvent.DRAIN): _STOPPING,
    (_RECOVERING, ReplicaEvent.READY): _RUNNING,
    (_RECOVERING, ReplicaEvent.DRAIN): _STOPPING,
    (_RECOVERING, ReplicaEvent.DIED): _STOPPED,
    (_RUNNING, ReplicaEvent.UPDATE): _UPDATING,
    (_RUNNING, ReplicaEvent.MIGRATE): _MIGRATING,
    (_RUNNING, ReplicaEvent.DRAIN): _STOPPING,
    (_RUNNING, ReplicaEvent.DIED): _STOPPED,
    (_UPDATING, ReplicaEvent.UPDATED): _RUNNING,
    (_UPDATING, ReplicaEvent.DRAIN): _STOPPING,
    (_UPDATING, ReplicaEvent.DIED): _STOPPED,
    (_MIGRATING, ReplicaEvent.STAY): _RUNNING,
    (_MIGRATING, ReplicaEvent.DRAIN): _STOPPING,
    (_MIGRATING, ReplicaEvent.DIED): _STOPPED,
    # It was told to leave while it started; it never joins.
    (_STOPPING, ReplicaEvent.READY): _STOPPING,
    (_STOPPING, ReplicaEvent.FAILED): _STOPPED,
    # It was told to leave while it took over settings.
    (_STOPPING, ReplicaEvent.UPDATED): _STOPPING,
    (_STOPPING, ReplicaEvent.IDLE): _STOPPED,
    (_STOPPING, ReplicaEvent.DIED): _STOPPED,
}


def advance(state: ReplicaState, event: ReplicaEvent) -> ReplicaState:
    """Return the state after an event.

    Raises:
        InternalError: The event cannot happen in that state.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise InternalError(f"a replica that is {state} cannot see {event.name}") from None
