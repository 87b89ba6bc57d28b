"""Events that the controller announces to plugins."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """A change of a replica, a deployment or the routes.

    Attributes:
        kind: `replica`, `deployment` or `routes`.
        name: The id of the replica or deployment; "" for routes.
        state: The new state.
        message: The reason, in plain text; "" for no reason.
    """

    kind: str
    name: str
    state: str
    message: str = ""
