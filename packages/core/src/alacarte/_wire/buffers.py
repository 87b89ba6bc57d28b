"""Buffers for long messages, used again once nobody refers to them.

A fresh buffer of many megabytes costs as much as its message: the kernel finds its pages one by
one and clears them. Programs that send arrays mostly send them in one size, so a few buffers that
the program has let go are kept for the next message of exactly that size. Once none of that size
has come for a while, the memory goes back to the system.
"""

from __future__ import annotations

import asyncio
import ctypes
import sys
import threading
from collections.abc import Callable

__all__ = ["KEPT_BYTES", "Buffers", "long_buffers"]

KEPT_BYTES = 64 << 20
"""What all buffers kept may hold together, in one process."""

REVIEW_S = 3.0
"""A buffer that nobody has taken from one review to the next is let go."""

_ONLY_OURS = 3
"""References to a buffer that nobody else has: the list's, the loop's and `getrefcount`'s own."""


class Buffers:
    """Gives out buffers. Safe in several threads.

    Args:
        limit: Bytes that may be kept; a longer buffer is never.
        freed: Called when buffers were let go for want of use.
    """

    def __init__(self, limit: int = KEPT_BYTES, freed: Callable[[], None] | None = None) -> None:
        self._limit = limit
        self._freed = freed
        self._kept: list[bytearray] = []
        self._size = 0
        self._taken: set[int] = set()
        self._reviewing: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def take(self, size: int) -> bytearray:
        """Return a buffer of exactly `size` bytes, with any content.

        Whoever takes one gives it back by letting go of it, views of it included. On an event loop,
        a review of what is kept follows some seconds later.
        """
        with self._lock:
            if self._reviewing is None or self._reviewing.is_closed():
                self._schedule()
            for buffer in self._kept:
                if len(buffer) == size and sys.getrefcount(buffer) == _ONLY_OURS:
                    self._taken.add(id(buffer))
                    return buffer
            fresh = bytearray(size)
            if size <= self._limit:
                self._taken.add(id(fresh))
                self._kept.append(fresh)
                self._size += size
                while self._size > self._limit:
                    self._size -= len(self._kept.pop(0))
            return fresh

    def review(self) -> None:
        """Let go of the buffers that nobody uses, nor has taken since the last review."""
        with self._lock:
            unused = [
                buffer
                for buffer in self._kept
                if sys.getrefcount(buffer) == _ONLY_OURS and id(buffer) not in self._taken
            ]
            self._taken.clear()
            if unused:
                gone = {id(buffer) for buffer in unused}
                self._kept = [buffer for buffer in self._kept if id(buffer) not in gone]
                self._size = sum(map(len, self._kept))
            self._reviewing = None
            if self._kept:
                self._schedule()
        if unused:
            unused.clear()
            if self._freed is not None:
                self._freed()

    def _schedule(self) -> None:
        try:
            self._reviewing = asyncio.get_running_loop()
        except RuntimeError:  # in another thread; the next one to take a buffer is on a loop
            return
        self._reviewing.call_later(REVIEW_S, self.review)


def _trim() -> None:
    """Give the memory that Python has freed back to the system.

    glibc keeps what was freed at the end of its heap: up to 64 MB, once large blocks came and went.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
    if trim is not None:
        trim(0)


long_buffers = Buffers(freed=_trim)
"""Those of this process."""
