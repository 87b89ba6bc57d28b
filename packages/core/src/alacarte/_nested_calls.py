"""Nested calls of a request, which are cancelled with the request."""

from __future__ import annotations

import asyncio
from typing import Protocol

__all__ = ["Cancellable", "NestedCalls"]


class Cancellable(Protocol):
    """Work in progress that can be cancelled."""

    def cancel(self) -> object:
        """Cancel the work; do nothing when it has ended."""


class NestedCalls:
    """The pending calls of a request, from any thread.

    A cancelled request cancels its calls. When the request ends in another way, its pending calls
    continue: the handler chose not to wait for them.

    Attributes:
        cancelled: Whether the request was cancelled.
    """

    __slots__ = ("_calls", "_closed", "cancelled")

    def __init__(self) -> None:
        self._calls: set[Cancellable] = set()
        self._closed = False
        self.cancelled = False

    def add(self, call: Cancellable) -> None:
        """Add a call, until `discard`; cancel the call in a thread of a cancelled request."""
        if self._closed:
            return
        self._calls.add(call)
        # On the loop, the handler itself got the CancelledError: a call that it makes afterwards
        # is part of its cleanup, and must run.
        if self.cancelled and asyncio._get_running_loop() is None:
            call.cancel()

    def discard(self, call: Cancellable) -> None:
        """Remove a call that has ended."""
        self._calls.discard(call)

    def cancel(self) -> None:
        """Cancel the pending calls of a cancelled request."""
        self.cancelled = True
        for call in list(self._calls):
            call.cancel()

    def close(self) -> None:
        """Release the pending calls of a request that has ended."""
        self._closed = True
        self._calls.clear()
