"""Long replies in memory that two processes of one host share.

A socket copies what passes through it twice, and a proxy copies it on to its client twice more: on
a machine whose cores are busy, time is copies. A replica writes a long reply once into a segment, a
file without a name in memory, and its frame says which. The caller maps the segment, reads the
reply where it lies, and gives the segment back when it has let go of it. Where that is not possible
(another host or container, no segment free) the reply takes the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import functools
import mmap
import os
import socket
import weakref
from collections.abc import Callable
from struct import Struct
from struct import error as StructError

from ..types import Buffer, Message
from .frames import FrameError

__all__ = [
    "MAX_SHARED_BYTES", "SHARED_BYTES", "Mappings", "Segment", "Segments", "process_of",
    "read_inode", "read_reference", "write_inode",
]  # fmt: skip

SHARED_BYTES = 1 << 18
"""A reply at least this long goes into a segment."""
MAX_SHARED_BYTES = 16 << 20
"""A longer one is sent in chunks, since the loop waits while it is copied."""
LIMIT_BYTES = 64 << 20
"""What all segments of a replica may hold together."""
REVIEW_S = 3.0
"""A segment that nobody has taken from one review to the next is let go."""
_MAX_WASTE = 4
"""A segment is not used for a message that takes less than this part of it."""
_REFERENCE = Struct("<IQQ")
_INODE = Struct("<Q")
_CREDENTIALS = Struct("3i")
_SEALS = getattr(fcntl, "F_SEAL_SHRINK", 0) | getattr(fcntl, "F_SEAL_GROW", 0)


class Segment:
    """Memory that other processes of this user may map.

    Attributes:
        size: In bytes.
        inode: Names it, in both processes.
        used: Taken since the last review.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = True
        self._fd = os.memfd_create("alacarte", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self._fd, size)
            # Whoever maps it can rely on its size: beyond its end, reading would kill the reader.
            fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, _SEALS)
            self._memory = mmap.mmap(self._fd, size)
        except OSError:
            os.close(self._fd)
            raise
        self.inode = os.fstat(self._fd).st_ino

    def write(self, message: Message, size: int) -> bytes:
        """Copy a message into the segment; return the reference by which others map it."""
        at = 0
        with memoryview(self._memory) as view:
            for piece in message:
                data = memoryview(piece).cast("B")
                view[at : at + data.nbytes] = data
                at += data.nbytes
        return _REFERENCE.pack(self._fd, self.inode, size)

    def close(self) -> None:
        """Let go of it; who has mapped it may read on."""
        self._memory.close()
        os.close(self._fd)


class Segments:
    """The segments of one replica. Used on its loop.

    Args:
        limit: Bytes that all of them may hold together.
    """

    def __init__(self, limit: int = LIMIT_BYTES) -> None:
        self._limit = limit
        self._size = 0
        self._free: list[Segment] = []
        self._review: asyncio.TimerHandle | None = None

    def take(self, size: int) -> Segment | None:
        """Return a segment for so many bytes; None where the limit or the system allows none."""
        for segment in reversed(self._free):  # the last one used is still in the cache
            if size <= segment.size < _MAX_WASTE * size:
                self._free.remove(segment)
                segment.used = True
                return segment
        rounded = -(-size // SHARED_BYTES) * SHARED_BYTES
        while self._free and self._size + rounded > self._limit:
            self.drop(self._free.pop(0))
        if self._size + rounded > self._limit:
            return None
        try:
            segment = Segment(rounded)
        except OSError:
            return None
        self._size += rounded
        return segment

    def give_back(self, segment: Segment) -> None:
        """Take back a segment that nobody reads any more."""
        self._free.append(segment)
        if self._review is None:
            loop = asyncio.get_running_loop()
            self._review = loop.call_later(REVIEW_S, self.review)

    def drop(self, segment: Segment) -> None:
        """Let go of a segment that somebody may still read, and whose end nobody would hear of."""
        self._size -= segment.size
        segment.close()

    def review(self) -> None:
        """Let go of the segments that nobody has taken since the last review."""
        self._review = None
        for segment in [each for each in self._free if not each.used]:
            self._free.remove(segment)
            self.drop(segment)
        for segment in self._free:
            segment.used = False
        if self._free:
            self._review = asyncio.get_running_loop().call_later(REVIEW_S, self.review)

    def close(self) -> None:
        """Let go of all that is free."""
        if self._review is not None:
            self._review.cancel()
        for segment in self._free:
            self.drop(segment)
        self._free.clear()


class Mapping:
    """A segment of another process, mapped here. Mapping and unmapping take as long as copying.

    Attributes:
        size: In bytes.
        used: A message was read in it since the last review.
    """

    def __init__(self, pid: int, fd: int, inode: int) -> None:
        file = os.open(f"/proc/{pid}/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)
        try:
            found = os.fstat(file)
            if found.st_ino != inode:
                raise OSError(f"descriptor {fd} of process {pid} is another file by now")
            if fcntl.fcntl(file, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
                raise OSError(f"segment {inode} may shrink")
            self._memory = mmap.mmap(file, found.st_size)
        finally:
            os.close(file)
        self._array = ctypes.c_char * found.st_size
        self.size = found.st_size
        self.used = True

    def view(self, size: int, let_go: Callable[[], None]) -> memoryview:
        """Return the first `size` bytes, and have `let_go` called when nothing refers to them."""
        # Every view of this object refers to it, slices of slices too; a finalizer of the first
        # view alone would be called while others are in use.
        exporter = self._array.from_buffer(self._memory)
        weakref.finalize(exporter, let_go).atexit = False
        return memoryview(exporter).cast("B")[:size].toreadonly()


class Mappings:
    """What a connection has mapped of its replica's segments. Used on its loop.

    Args:
        pid: The replica's process.
        release: Called on the loop with the inode of a segment that nobody here refers to.
    """

    def __init__(self, pid: int, release: Callable[[int], None]) -> None:
        self._pid = pid
        self._release = release
        self._loop = asyncio.get_running_loop()
        self._mappings: dict[int, Mapping] = {}
        self._review: asyncio.TimerHandle | None = None

    def read(self, reference: Buffer, max_size: int) -> memoryview:
        """Return the message that a reference names.

        Raises:
            FrameError: The reference is none.
            OSError: The segment cannot be mapped.
        """
        fd, inode, size = read_reference(reference)
        if not 0 < size <= max_size:
            raise FrameError(f"a reference to {size} bytes; {max_size} are allowed")
        mapping = self._mappings.get(inode)
        if mapping is None:
            mapping = self._mappings[inode] = Mapping(self._pid, fd, inode)
            if self._review is None:
                self._review = self._loop.call_later(REVIEW_S, self.review)
        if size > mapping.size:
            raise FrameError(f"a reference to {size} bytes; the segment holds {mapping.size}")
        mapping.used = True
        return mapping.view(size, functools.partial(self._let_go, inode))

    def _let_go(self, inode: int) -> None:
        # In any thread, and in the middle of anything.
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._release, inode)

    def review(self) -> None:
        """Unmap the segments that were not used since the last review."""
        self._mappings = {inode: each for inode, each in self._mappings.items() if each.used}
        for mapping in self._mappings.values():
            mapping.used = False
        self._review = None
        if self._mappings:
            self._review = self._loop.call_later(REVIEW_S, self.review)

    def close(self) -> None:
        """Unmap all that nobody refers to, and the rest when it is let go of."""
        if self._review is not None:
            self._review.cancel()
        self._mappings.clear()


def read_reference(reference: Buffer) -> tuple[int, int, int]:
    """Return descriptor, inode and size of a message in shared memory.

    Raises:
        FrameError: The bytes are no reference.
    """
    try:
        fd, inode, size = _REFERENCE.unpack(reference)
    except StructError:
        raise FrameError(f"a reference in {len(reference)} bytes") from None
    return int(fd), int(inode), int(size)


def write_inode(inode: int) -> bytes:
    """Return the payload of a RELEASE."""
    return _INODE.pack(inode)


def read_inode(payload: Buffer) -> int:
    """Return which segment a RELEASE gives back.

    Raises:
        FrameError: It is none.
    """
    try:
        (inode,) = _INODE.unpack(payload)
    except StructError:
        raise FrameError(f"a release in {len(payload)} bytes") from None
    return int(inode)


def process_of(transport: asyncio.Transport) -> int:
    """Return the process at the other end of a Unix socket, if its memory can be mapped; else 0."""
    peer = transport.get_extra_info("socket")
    if peer is None or peer.family != socket.AF_UNIX or not hasattr(os, "memfd_create"):
        return 0
    # A duplicate, since uvloop hands out an object that has no getsockopt of its own.
    with socket.socket(fileno=os.dup(peer.fileno())) as duplicate:
        raw = duplicate.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid = int(_CREDENTIALS.unpack(raw)[0])
    try:
        os.scandir(f"/proc/{pid}/fd").close()
    except OSError:  # in another container, or not to be looked into
        return 0
    return pid
