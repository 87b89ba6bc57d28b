"""Which models are held, and which one goes to make room. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

__all__ = ["Recency"]


class Usable(Protocol):
    """Something that may be in use."""

    @property
    def busy(self) -> bool:
        """Whether it should rather not go now."""


T = TypeVar("T", bound=Usable)


class Recency(Generic[T]):
    """Values by id, ordered by when they were last asked for.

    Args:
        limit: How many may be held, -1 for any number.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: OrderedDict[str, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[str]:
        """Iterate ids, the one asked for longest ago first."""
        return iter(self._values)

    def touch(self, key: str) -> T | None:
        """Return what is held under this id, which now is the one asked for last."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def add(self, key: str, value: T) -> None:
        """Hold a value, as the one asked for last."""
        self._values[key] = value

    def make_room(self) -> T | None:
        """Take out and return what must go before one more can be held, None if nothing must.

        The one asked for longest ago of those not in use; when all are, of them all.
        """
        if self._limit < 0 or len(self._values) < self._limit:
            return None
        idle = (key for key, value in self._values.items() if not value.busy)
        return self._values.pop(next(idle, next(iter(self._values))))

    def clear(self) -> list[T]:
        """Take out and return all."""
        values = list(self._values.values())
        self._values.clear()
        return values
