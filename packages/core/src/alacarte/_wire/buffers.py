"""Buffers for long messages, used again once nobody refers to them.

A fresh buffer of many megabytes costs as much as its message: the kernel finds its pages one by
one and clears them. Programs that send arrays mostly send them in one size, so a few buffers that
the program has let go are kept for the next message of exactly that size.
"""

from __future__ import annotations

import sys
import threading

__all__ = ["KEPT_BYTES", "Buffers", "long_buffers"]

KEPT_BYTES = 64 << 20
"""What all buffers kept may hold together, in one process."""

_ONLY_OURS = 3
"""References to a buffer that nobody else has: the list's, the loop's and `getrefcount`'s own."""


class Buffers:
    """Gives out buffers. Safe in several threads.

    Args:
        limit: Bytes that may be kept; a longer buffer is never.
    """

    def __init__(self, limit: int = KEPT_BYTES) -> None:
        self._limit = limit
        self._kept: list[bytearray] = []
        self._size = 0
        self._lock = threading.Lock()

    def take(self, size: int) -> bytearray:
        """Return a buffer of exactly `size` bytes, with any content.

        Whoever takes one gives it back by letting go of it, views of it included.
        """
        with self._lock:
            for buffer in self._kept:
                if len(buffer) == size and sys.getrefcount(buffer) == _ONLY_OURS:
                    return buffer
            fresh = bytearray(size)
            if size <= self._limit:
                self._kept.append(fresh)
                self._size += size
                while self._size > self._limit:
                    self._size -= len(self._kept.pop(0))
            return fresh


long_buffers = Buffers()
"""Those of this process."""
