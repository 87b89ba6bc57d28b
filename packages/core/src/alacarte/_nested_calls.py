"""The calls that a request makes, and their end with the request."""

from __future__ import annotations

import asyncio
from typing import Protocol

__all__ = ["Cancellable", "NestedCalls"]


class Cancellable(Protocol):
    """Work under way that can be given up."""

    def cancel(self) -> object:
        """Give it up. Nothing happens when it has ended."""


class NestedCalls:
    """The calls that a request has made and that have not ended, from any thread.

    When the request is cancelled, so are they. When it ends in another way, those that it did not
    wait for go on: they were left to themselves on purpose.

    Attributes:
        cancelled: The request was cancelled.
    """

    __slots__ = ("_calls", "_over", "cancelled")

    def __init__(self) -> None:
        self._calls: set[Cancellable] = set()
        self._over = False
        self.cancelled = False

    def add(self, call: Cancellable) -> None:
        """Take in a call, until `discard`."""
        if self._over:
            return
        self._calls.add(call)
        # Cancelled meanwhile, by another thread. On the loop it is the handler that cleans up:
        # it has seen the cancellation, and its further calls are made in spite of it.
        if self.cancelled and asyncio._get_running_loop() is None:
            call.cancel()

    def discard(self, call: Cancellable) -> None:
        """A call has ended."""
        self._calls.discard(call)

    def cancel(self) -> None:
        """The request was cancelled: cancel what it has called."""
        self.cancelled = True
        for call in list(self._calls):
            call.cancel()

    def close(self) -> None:
        """The request has ended: what still runs is on its own."""
        self._over = True
        self._calls.clear()
