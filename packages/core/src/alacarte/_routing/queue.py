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
    """A queue of calls, each with the future of what it will get. Leaving takes constant time.

    Attributes:
        entries: Those that wait; always the same mapping. To look at, and to ask whether any do.
        changed: Called after a call has joined or left.
    """

    def __init__(self) -> None:
        self.entries: OrderedDict[int, tuple[Call, asyncio.Future[T]]] = OrderedDict()
        self.changed: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self.entries)

    def join(self, call: Call, future: asyncio.Future[T], *, front: bool) -> None:
        """Add a call at the end, or at the front when it has waited before."""
        key = id(future)
        self.entries[key] = (call, future)
        if front:
            self.entries.move_to_end(key, last=False)
        if self.changed is not None:
            self.changed()

    def leave(self, future: asyncio.Future[T]) -> None:
        """Take out a call, if it is still there."""
        self.entries.pop(id(future), None)
        if self.changed is not None:
            self.changed()

    def first(self) -> tuple[Call, asyncio.Future[T]] | None:
        """Return the call whose turn it is, and leave it where it is."""
        for entry in self.entries.values():
            return entry
        return None

    def last(self) -> asyncio.Future[T]:
        """Take out the call that came last, and return its future."""
        _, (_, future) = self.entries.popitem()
        return future

    def fail(self, error: BaseException) -> None:
        """Give every waiting call this error."""
        calls = list(self.entries.values())
        self.entries.clear()
        for _, future in calls:
            if not future.done():
                future.set_exception(error)
