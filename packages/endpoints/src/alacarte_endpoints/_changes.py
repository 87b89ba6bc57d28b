"""Changes of resources that do not undo what somebody else has changed meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from alacarte.errors import ConflictError
from alacarte.types import Instance, Resource

__all__ = ["change", "with_share"]

_TRIES = 50
"""Somebody else's change has gone through each time, so others do get on."""
SpecT = TypeVar("SpecT")


def change(
    instance: Instance,
    kind: str,
    name: str,
    read: Callable[[], SpecT | None],
    changed: Callable[[SpecT | None], SpecT | None],
) -> None:
    """Put something made of a resource's spec in its place; from the start where it has changed.

    Args:
        read: Gives the spec, None where there is no such resource.
        changed: Makes the new spec, None to leave it as it is. Whatever it raises ends the change.

    Raises:
        ConflictError: Somebody else has been faster, again and again.
    """
    for tries_left in reversed(range(_TRIES)):
        spec = read()
        old = None if spec is None else Resource(kind, name, spec)
        new = changed(spec)
        if new is None:
            return
        try:
            instance.apply(Resource(kind, name, new), expected=[old])
        except ConflictError:
            if not tries_left:
                raise
        else:
            return


def with_share(shadows: Mapping[str, float], name: str, share: float) -> dict[str, float]:
    """Return shadows with one of them given a share, or taken out for a share of 0."""
    others = {other: each for other, each in shadows.items() if other != name}
    return {**others, name: share} if share else others
