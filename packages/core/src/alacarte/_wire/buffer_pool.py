"""A pool of buffers for long messages, which reuses a buffer when no reference to it is left.

A fresh buffer of many megabytes costs as much as its message: the kernel finds its pages one by
one and clears them. Programs that send arrays mostly send arrays of one size, so the pool keeps a
few buffers for the next message of exactly the same size. The memory returns to the system when no
message of that size arrives for some seconds.
"""

from __future__ import annotations

import asyncio
import ctypes
import sys
import threading
from collections.abc import Callable

__all__ = ["MAX_POOLED_BYTES", "BufferPool", "long_buffer_pool"]

MAX_POOLED_BYTES = 64 << 20
"""Total size of the pooled buffers of a process."""

REVIEW_INTERVAL_S = 3.0
"""A buffer that was not taken between two reviews is freed."""

_UNUSED_REFERENCES = 3
"""Reference count of an unused buffer: the pool's list, the loop variable and `getrefcount`."""


class BufferPool:
    """A pool of buffers. Thread-safe.

    Args:
        limit: Total size in bytes of the pooled buffers; a longer buffer is not pooled.
        freed: Called after unused buffers were freed.
    """

    def __init__(
        self, limit: int = MAX_POOLED_BYTES, freed: Callable[[], None] | None = None
    ) -> None:
        self._limit = limit
        self._freed = freed
        self._pooled: list[bytearray] = []
        self._size = 0
        self._taken: set[int] = set()
        self._reviewing: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def take(self, size: int) -> bytearray:
        """Return a buffer of exactly `size` bytes, with arbitrary content.

        The buffer is free again when no reference to it, views included, is left. Called on an
        event loop, `take` schedules the next review.
        """
        with self._lock:
            if self._reviewing is None or self._reviewing.is_closed():
                self._schedule()
            for buffer in self._pooled:
                if len(buffer) == size and sys.getrefcount(buffer) == _UNUSED_REFERENCES:
                    self._taken.add(id(buffer))
                    return buffer
            fresh = bytearray(size)
            if size <= self._limit:
                self._taken.add(id(fresh))
                self._pooled.append(fresh)
                self._size += size
                while self._size > self._limit:
                    self._size -= len(self._pooled.pop(0))
            return fresh

    def review(self) -> None:
        """Free the buffers that are unused now and were not taken since the last review."""
        with self._lock:
            unused = [
                buffer
                for buffer in self._pooled
                if sys.getrefcount(buffer) == _UNUSED_REFERENCES and id(buffer) not in self._taken
            ]
            self._taken.clear()
            if unused:
                freed = {id(buffer) for buffer in unused}
                self._pooled = [buffer for buffer in self._pooled if id(buffer) not in freed]
                self._size = sum(map(len, self._pooled))
            self._reviewing = None
            if self._pooled:
                self._schedule()
        if unused:
            unused.clear()
            if self._freed is not None:
                self._freed()

    def _schedule(self) -> None:
        try:
            self._reviewing = asyncio.get_running_loop()
        except RuntimeError:  # a thread without a loop; a later call on a loop schedules the review
            return
        self._reviewing.call_later(REVIEW_INTERVAL_S, self.review)


def _trim() -> None:
    """Return freed memory to the system.

    glibc keeps up to 64 MB of freed memory at the end of its heap after large allocations.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
    if trim is not None:
        trim(0)


long_buffer_pool = BufferPool(freed=_trim)
"""The pool of this process."""
