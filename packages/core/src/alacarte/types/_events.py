"""Changes that are announced to observers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """Something changed. `kind` is one of `replica`, `deployment`, `routes`.

    Attributes:
        kind: What changed.
        name: Which one: a replica's or deployment's id, "" for routes.
        state: Its new state.
        message: More, for people; "" for nothing.
    """

    kind: str
    name: str
    state: str
    message: str = ""
