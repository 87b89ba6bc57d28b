"""Least-recently-used order of models, with eviction. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

__all__ = ["Recency"]


class Evictable(Protocol):
    """A value that is evicted only if not in use, if possible."""

    @property
    def in_use(self) -> bool:
        """Whether the value is in use."""


T = TypeVar("T", bound=Evictable)


class Recency(Generic[T]):
    """Values by key, in least-recently-used order.

    Args:
        limit: Maximum number of values, -1 for no limit.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: OrderedDict[str, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[str]:
        """Iterate the keys, least recently used first."""
        return iter(self._values)

    def touch(self, key: str) -> T | None:
        """Return the value of a key and mark it as most recently used; None for an unknown key."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def add(self, key: str, value: T) -> None:
        """Add a value as the most recently used."""
        self._values[key] = value

    def make_room(self) -> T | None:
        """Remove and return a value if the limit is reached, None otherwise.

        The value is the least recently used one that is not in use, or of all if all are in use.
        """
        if self._limit < 0 or len(self._values) < self._limit:
            return None
        idle = (key for key, value in self._values.items() if not value.in_use)
        return self._values.pop(next(idle, next(iter(self._values))))

    def clear(self) -> list[T]:
        """Remove and return all values."""
        values = list(self._values.values())
        self._values.clear()
        return values
