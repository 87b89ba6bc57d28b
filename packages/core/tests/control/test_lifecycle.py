"""A replica's life: the whole table, and nothing but the table."""

from __future__ import annotations

import itertools

import pytest

from alacarte._control.lifecycle import ReplicaEvent, advance
from alacarte.errors import InternalError
from alacarte.status import ReplicaState

S, E = ReplicaState, ReplicaEvent

TABLE = {
    (S.STARTING, E.READY): S.RUNNING,
    (S.STARTING, E.FAILED): S.STOPPED,
    (S.STARTING, E.DIED): S.STOPPED,
    (S.STARTING, E.DRAIN): S.STOPPING,
    (S.RECOVERING, E.READY): S.RUNNING,
    (S.RECOVERING, E.DRAIN): S.STOPPING,
    (S.RECOVERING, E.DIED): S.STOPPED,
    (S.RUNNING, E.UPDATE): S.UPDATING,
    (S.RUNNING, E.MIGRATE): S.PENDING_MIGRATION,
    (S.RUNNING, E.DRAIN): S.STOPPING,
    (S.RUNNING, E.DIED): S.STOPPED,
    (S.UPDATING, E.UPDATED): S.RUNNING,
    (S.UPDATING, E.DRAIN): S.STOPPING,
    (S.UPDATING, E.DIED): S.STOPPED,
    (S.PENDING_MIGRATION, E.STAY): S.RUNNING,
    (S.PENDING_MIGRATION, E.DRAIN): S.STOPPING,
    (S.PENDING_MIGRATION, E.DIED): S.STOPPED,
    (S.STOPPING, E.READY): S.STOPPING,
    (S.STOPPING, E.FAILED): S.STOPPED,
    (S.STOPPING, E.UPDATED): S.STOPPING,
    (S.STOPPING, E.IDLE): S.STOPPED,
    (S.STOPPING, E.DIED): S.STOPPED,
}


@pytest.mark.parametrize(("state", "event"), list(itertools.product(S, E)))
def test_every_pair_of_state_and_event(state: ReplicaState, event: ReplicaEvent):
    """A pair in the table has its next state; any other raises with the names of both."""
    if (state, event) in TABLE:
        assert advance(state, event) is TABLE[state, event]
    else:
        with pytest.raises(InternalError, match=f"{state}.*{event.name}"):
            advance(state, event)


def test_nothing_leaves_the_end():
    """A stopped replica stays so."""
    assert not [pair for pair in TABLE if pair[0] is S.STOPPED]


def test_every_state_can_reach_the_end():
    """From every state some sequence of events leads to STOPPED."""
    ending = {S.STOPPED}
    for _ in S:
        ending |= {state for (state, _), after in TABLE.items() if after in ending}
    assert ending == set(S)
