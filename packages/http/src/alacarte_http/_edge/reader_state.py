"""The state machine of a reader of requests, as a table. Values only."""

from __future__ import annotations

from enum import IntEnum, auto

__all__ = ["RECEIVING", "TRANSITIONS", "State", "Step"]


class State(IntEnum):
    """The states of a reader."""

    NEW = auto()
    """No byte has arrived."""
    HEAD = auto()
    """A head has begun."""
    BODY = auto()
    """A head has ended, and its body has not."""
    DONE = auto()
    """A request has ended, and another one may follow."""
    MUST_CLOSE = auto()
    """The client's last request has ended; further bytes are dropped."""
    UPGRADED = auto()
    """A head has ended, and another protocol owns the connection."""
    REFUSED = auto()
    """A request was refused; further bytes are dropped."""


class Step(IntEnum):
    """The steps that change a reader's state."""

    BEGIN = auto()
    """The first byte of a request arrives."""
    BODY_FOLLOWS = auto()
    """A head with a body ends."""
    END_REQUEST = auto()
    """A request ends."""
    END_LAST_REQUEST = auto()
    """The client's last request ends."""
    UPGRADE = auto()
    """A head ends that asks for another protocol."""
    REFUSE = auto()
    """A request is invalid or misses a deadline."""


NEW, HEAD, BODY, DONE, MUST_CLOSE, UPGRADED, REFUSED = State
_BEGIN, _BODY_FOLLOWS, _END_REQUEST, _END_LAST_REQUEST, _UPGRADE, _REFUSE = Step

TRANSITIONS = {
    (NEW, _BEGIN): HEAD,
    (NEW, _REFUSE): REFUSED,
    (HEAD, _BODY_FOLLOWS): BODY,
    (HEAD, _END_REQUEST): DONE,
    (HEAD, _END_LAST_REQUEST): MUST_CLOSE,
    (HEAD, _UPGRADE): UPGRADED,
    (HEAD, _REFUSE): REFUSED,
    (BODY, _END_REQUEST): DONE,
    (BODY, _END_LAST_REQUEST): MUST_CLOSE,
    (BODY, _REFUSE): REFUSED,
    (DONE, _BEGIN): HEAD,
    (DONE, _REFUSE): REFUSED,
    (MUST_CLOSE, _REFUSE): REFUSED,
    (UPGRADED, _REFUSE): REFUSED,
}
"""The next state for each state and step; an absent pair is a bug, and raises KeyError."""

RECEIVING = frozenset((NEW, HEAD, BODY, DONE))
"""States in which bytes are read; in the others they are dropped."""
