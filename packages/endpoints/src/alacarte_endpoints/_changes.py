"""Read-modify-write of resources, with retries on conflicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from alacarte.errors import ConflictError
from alacarte.types import Instance, Resource

__all__ = ["change", "with_share"]

_MAX_TRIES = 50
"""Each conflict means that another program's change succeeded."""
SpecT = TypeVar("SpecT")


def change(
    instance: Instance,
    kind: str,
    name: str,
    read: Callable[[], SpecT | None],
    changed: Callable[[SpecT | None], SpecT | None],
) -> None:
    """Change the spec of a resource; retry where another program changes the resource first.

    Args:
        read: Returns the current spec, None where there is no such resource.
        changed: Returns the new spec, None for no change. Its exceptions end the change.

    Raises:
        ConflictError: Other programs changed the resource first in every try.
    """
    for tries_left in reversed(range(_MAX_TRIES)):
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
    """Return shadows with a new share for one shadow; a share of 0 removes the shadow."""
    others = {other: each for other, each in shadows.items() if other != name}
    return {**others, name: share} if share else others
