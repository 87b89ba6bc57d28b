"""Calls that wait for a free replica: first come, first served."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from ..types import Call

__all__ = ["WaitingCalls"]

T = TypeVar("T")


class WaitingCalls(Generic[T]):
    """A queue of calls, each with the future of its result. Removal takes constant time.

    Attributes:
        entries: The waiting calls, read-only; always the same mapping.
        on_changed: Called after a call was added or removed.
    """

    def __init__(self) -> None:
        self.entries: OrderedDict[int, tuple[Call, asyncio.Future[T]]] = OrderedDict()
        self.on_changed: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self.entries)

    def add(self, call: Call, future: asyncio.Future[T], *, front: bool) -> None:
        """Add a call at the end, or at the front if the call has waited before."""
        key = id(future)
        self.entries[key] = (call, future)
        if front:
            self.entries.move_to_end(key, last=False)
        if self.on_changed is not None:
            self.on_changed()

    def remove(self, future: asyncio.Future[T]) -> None:
        """Remove a call; do nothing if it has left the queue."""
        self.entries.pop(id(future), None)
        if self.on_changed is not None:
            self.on_changed()

    def peek_oldest(self) -> tuple[Call, asyncio.Future[T]] | None:
        """Return the oldest call without removing it, or None from an empty queue."""
        for entry in self.entries.values():
            return entry
        return None

    def pop_newest(self) -> asyncio.Future[T]:
        """Remove the newest call and return its future."""
        _, (_, future) = self.entries.popitem()
        return future

    def fail_all(self, error: BaseException) -> None:
        """Fail every waiting call with this error."""
        calls = list(self.entries.values())
        self.entries.clear()
        for _, future in calls:
            if not future.done():
                future.set_exception(error)
