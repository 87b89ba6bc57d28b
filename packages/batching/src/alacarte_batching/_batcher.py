"""When a batch closes and which items are in it. Pure: time is an argument.

A batch closes when it is full, or when its first item has waited long enough, and only while
fewer batches run than may. Until one may, items go on gathering, so the batch that follows a
slow one is the fuller for it. Items leave in the order they came.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

from ._limits import Limits

__all__ = ["Batcher", "Waiting"]


class Waiting(Protocol):
    """An item, which remembers when it came."""

    arrived: float


ItemT = TypeVar("ItemT", bound=Waiting)


class Batcher(Generic[ItemT]):
    """Gathers items and says when they are a batch.

    Args:
        limits: Shared with whoever may change them.
        measure: The joint size of some items, for those who do not count each as one. It is
            the user's code and may raise, from `take` alone.
    """

    def __init__(
        self, limits: Limits, measure: Callable[[Sequence[ItemT]], Any] | None = None
    ) -> None:
        self._limits = limits
        self._measure = measure
        self._waiting: deque[ItemT] = deque()
        self._running = 0
        # What is known of the items in front: how many fit together, and whether no more do.
        self._count = 0
        self._full = False
        self._measured_for = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, item: ItemT, now: float) -> None:
        """Put an item behind those that wait."""
        item.arrived = now
        self._waiting.append(item)

    def discard(self, item: ItemT) -> bool:
        """Remove an item nobody waits for any more; return whether it was still waiting."""
        try:
            self._waiting.remove(item)
        except ValueError:
            return False
        self._forget()
        return True

    def clear(self) -> list[ItemT]:
        """Remove and return all that wait."""
        items = list(self._waiting)
        self._waiting.clear()
        self._forget()
        return items

    def closes_at(self) -> float | None:
        """Return when the next batch closes for lack of time, None if nothing can close.

        Nothing can while no item waits, or while as many batches run as may.
        """
        limits = self._limits
        if not self._waiting or self._running >= limits.max_concurrent_batches:
            return None
        return self._waiting[0].arrived + limits.batch_wait_timeout_s

    def take(self, now: float | None) -> list[ItemT]:
        """Close and return the next batch, empty when none is due.

        A batch that was returned counts as running until `finish` is called for it.

        Args:
            now: The time; None to close a full batch only, and leave the others a chance to
                be joined by items that come in the same moment.
        """
        closes_at = self.closes_at()
        if closes_at is None:
            return []
        count, full = self._next()
        if not full and (now is None or now < closes_at):
            return []
        self._running += 1
        self._forget()
        return [self._waiting.popleft() for _ in range(count)]

    def finish(self) -> None:
        """One batch that was taken has ended."""
        self._running -= 1

    def _next(self) -> tuple[int, bool]:
        """Return how many items the next batch has, and whether it can have no more."""
        limit = self._limits.max_batch_size
        if self._measure is None:
            waiting = len(self._waiting)
            return min(waiting, limit), waiting >= limit
        if self._measured_for != limit:
            self._forget()
        self._measured_for = limit
        while not self._full and self._count < len(self._waiting):
            size = self._measure(list(islice(self._waiting, self._count + 1)))
            # One too large alone came while the limit was higher. It runs, on its own.
            if self._count == 0 or size <= limit:
                self._count += 1
            self._full = bool(size >= limit)
        return self._count, self._full

    def _forget(self) -> None:
        """Forget what was measured of the items in front, since they are others now."""
        self._count = 0
        self._full = False
