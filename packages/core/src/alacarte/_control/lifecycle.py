"""State machine of a replica, as a table. A transition that is not in the table raises."""

from __future__ import annotations

from enum import Enum

from ..errors import InternalError
from ..status import ReplicaState

__all__ = ["SERVING", "ReplicaEvent", "advance"]

SERVING = frozenset((ReplicaState.RUNNING, ReplicaState.UPDATING, ReplicaState.PENDING_MIGRATION))
"""States in which a replica accepts requests."""


class ReplicaEvent(Enum):
    """An event in a replica's life. The value is the message of the plugins' event."""

    READY = "the constructor has returned and the replica listens"
    FAILED = "the constructor raised, or the process did not come up"
    UPDATE = "the replica is given new settings"
    UPDATED = "the replica has applied or refused its new settings"
    MIGRATE = "the replica's node is draining"
    STAY = "the replica's node no longer drains"
    DRAIN = "the replica stops accepting requests"
    IDLE = "the replica's last request has ended"
    DIED = "the replica's process has ended"


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
    # Drained during its start: the replica never serves.
    (_STOPPING, ReplicaEvent.READY): _STOPPING,
    (_STOPPING, ReplicaEvent.FAILED): _STOPPED,
    # Drained during an update.
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
        raise InternalError(f"a replica in state {state} cannot handle {event.name}") from None
