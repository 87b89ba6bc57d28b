"""Batcher: decides when a batch closes, and which items it contains. Pure: time is an argument.

A batch closes when it is full or its first item has waited long enough, and only while fewer than
`max_concurrent_batches` run. Until then items accumulate, so the batch after a slow one is larger.
Items leave in their order of arrival.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Generic, Protocol, TypeVar

from ._limits import Limits

__all__ = ["Batcher", "Waiting"]


class Waiting(Protocol):
    """A waiting item, with its time of arrival."""

    arrived: float


ItemT = TypeVar("ItemT", bound=Waiting)


class Batcher(Generic[ItemT]):
    """Collects items and forms batches.

    Args:
        limits: Limits of batches, which may change at any time.
        measure: Returns the total size of some items, if an item does not count as one. User code:
            may raise, from `take` only.
    """

    def __init__(
        self, limits: Limits, measure: Callable[[Sequence[ItemT]], float] | None = None
    ) -> None:
        self._limits = limits
        self._measure = measure
        self._waiting: deque[ItemT] = deque()
        self._running = 0
        # Cached measurement of the first items: how many fit together, and whether no more do.
        self._count = 0
        self._full = False
        self._measured_for = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, item: ItemT, now: float) -> None:
        """Append an item to the waiting ones."""
        item.arrived = now
        self._waiting.append(item)

    def discard(self, item: ItemT) -> bool:
        """Remove an item whose caller has gone; return whether it was still waiting."""
        try:
            self._waiting.remove(item)
        except ValueError:
            return False
        self._forget()
        return True

    def clear(self) -> list[ItemT]:
        """Remove and return all waiting items."""
        items = list(self._waiting)
        self._waiting.clear()
        self._forget()
        return items

    def closes_at(self) -> float | None:
        """Return the time at which the next batch times out, None if no batch can close.

        No batch can close while no item waits, or while `max_concurrent_batches` run.
        """
        limits = self._limits
        if not self._waiting or self._running >= limits.max_concurrent_batches:
            return None
        return self._waiting[0].arrived + limits.batch_wait_timeout_s

    def take(self, now: float | None) -> list[ItemT]:
        """Close and return the next batch, [] if none is due.

        A returned batch counts as running until `finish` is called.

        Args:
            now: Current time; None to close a full batch only, so that items that arrive in the
                same iteration of the loop can join the others.
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
        """Record the end of a batch that `take` returned."""
        self._running -= 1

    def _next(self) -> tuple[int, bool]:
        """Return the number of items in the next batch, and whether the batch is full."""
        limit = self._limits.max_batch_size
        if self._measure is None:
            waiting = len(self._waiting)
            return min(waiting, limit), waiting >= limit
        if self._measured_for != limit:
            self._forget()
        self._measured_for = limit
        while not self._full and self._count < len(self._waiting):
            size = self._measure(list(islice(self._waiting, self._count + 1)))
            # A first item above the limit arrived while the limit was higher, and runs alone.
            if self._count == 0 or size <= limit:
                self._count += 1
            self._full = bool(size >= limit)
        return self._count, self._full

    def _forget(self) -> None:
        """Reset the cached measurement, because the first items have changed."""
        self._count = 0
        self._full = False
