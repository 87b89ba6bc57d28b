"""Long replies in memory that two processes of one host share.

A socket copies what passes through it twice, and a proxy copies it on to its client twice more: on
a machine whose cores are busy, time is copies. A replica writes a long reply once into a segment, a
file without a name in memory, and its frame says which. The caller maps the segment, reads the
reply where it lies, and gives the segment back when it has let go of it. Where that is not possible
(another host or container, no segment free) the reply takes the socket.

Whether a caller can map is proved and not assumed, since `/proc` may show other processes than the
socket names: first it has to say what it reads in a probe. A caller that cannot map a reply later,
being out of descriptors for instance, asks for that reply over the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import functools
import mmap
import os
import secrets
import socket
import stat
import sys
import weakref
from collections.abc import Callable
from struct import Struct
from struct import error as StructError

from ..types import Buffer, Message
from .frames import FrameError

__all__ = [
    "LINGER_S", "MAX_SHARED_BYTES", "RETRY_S", "SHARED_BYTES", "Mappings", "Segment", "Segments",
    "process_of", "read_inode", "read_reference", "write_inode",
]  # fmt: skip

SHARED_BYTES = 1 << 18
"""A reply at least this long goes into a segment."""
MAX_SHARED_BYTES = 16 << 20
"""A longer one is sent in chunks, since the loop waits while it is copied."""
LIMIT_BYTES = 64 << 20
"""What all segments of a replica may hold together."""
MAX_SEGMENTS = 32
"""Segments of a replica: each takes two descriptors, before Python 3.13."""
MAX_MAPPINGS = 64
"""Mappings of a process, whatever their connections: each takes a descriptor before Python 3.13,
and a proxy keeps 256 for all that is not a client."""
RETRY_S = 30.0
"""A caller that could not map a segment offers to map again so much later."""
LINGER_S = 1.0
"""A replica that hangs up leaves a caller so much time to map the last replies."""
REVIEW_S = 3.0
"""A segment that nobody has taken from one review to the next is let go."""
_PROBE_BYTES = 4096
_NONCE_BYTES = 16
_MAX_WASTE = 4
"""A segment is not used for a message that takes less than this part of it."""
_REFERENCE = Struct("<IQQ")
_INODE = Struct("<Q")
_CREDENTIALS = Struct("3i")
_SEALS = getattr(fcntl, "F_SEAL_SHRINK", 0) | getattr(fcntl, "F_SEAL_GROW", 0)

_mapped: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
"""What this process has mapped and still refers to."""


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
            self._memory = _map(self._fd, size, mmap.ACCESS_WRITE)
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

    def read(self, size: int) -> bytes:
        """Return a copy of the message in the segment."""
        return self._memory[:size]

    def close(self) -> None:
        """Let go of it; who has mapped it may read on."""
        self._memory.close()
        os.close(self._fd)


class Segments:
    """The segments of one replica. Used on its loop.

    Args:
        limit: Bytes that all of them may hold together.
        most: How many there may be.
    """

    def __init__(self, limit: int = LIMIT_BYTES, most: int = MAX_SEGMENTS) -> None:
        self._limit = limit
        self._most = most
        self._size = 0
        self._count = 0
        self._closed = False
        self._nonce = secrets.token_bytes(_NONCE_BYTES)
        self._probe: Segment | None = None
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
        while self._free and not self._has_room(rounded):
            self.drop(self._free.pop(0))
        if self._closed or not self._has_room(rounded):
            return None
        try:
            segment = Segment(rounded)
        except OSError:
            return None
        self._size += rounded
        self._count += 1
        return segment

    def _has_room(self, size: int) -> bool:
        return self._count < self._most and self._size + size <= self._limit

    def give_back(self, segment: Segment) -> None:
        """Take back a segment that nobody reads any more."""
        if self._closed:
            self.drop(segment)
            return
        self._free.append(segment)
        if self._review is None:
            loop = asyncio.get_running_loop()
            self._review = loop.call_later(REVIEW_S, self.review)

    def drop(self, segment: Segment) -> None:
        """Let go of a segment that somebody may still read, and whose end nobody would hear of."""
        self._size -= segment.size
        self._count -= 1
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
        """Let go of all that is free, and later of what is given back."""
        self._closed = True
        if self._review is not None:
            self._review.cancel()
        for segment in self._free:
            self.drop(segment)
        self._free.clear()
        if self._probe is not None:
            self._probe.close()
            self._probe = None

    # --- whether a caller can map ---------------------------------------------------------

    def probe(self) -> bytes | None:
        """Return a reference to what only a reader of our memory knows; None if there is none."""
        if self._closed:
            return None
        if self._probe is None:
            try:
                self._probe = Segment(_PROBE_BYTES)
            except OSError:
                return None
        return self._probe.write((self._nonce,), _NONCE_BYTES)

    def proves(self, read: Buffer) -> bool:
        """Return whether a caller has read in the probe what is there."""
        return secrets.compare_digest(read, self._nonce)


class Mapping:
    """A segment of another process, mapped here. Mapping and unmapping take as long as copying.

    Attributes:
        size: In bytes.
        used: A message was read in it since the last review.
    """

    def __init__(self, pid: int, fd: int, inode: int) -> None:
        if len(_mapped) >= MAX_MAPPINGS:
            raise OSError(f"{MAX_MAPPINGS} segments are mapped")
        path = f"/proc/{pid}/fd/{fd}"
        # Before it is opened: opening what is no segment may do something, or take for ever.
        size = _check(os.stat(path), inode)
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if _check(os.fstat(file), inode) != size:
                raise OSError(f"segment {inode} changes its size")
            if fcntl.fcntl(file, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
                raise OSError(f"segment {inode} may shrink")
            # A private mapping, since ctypes takes no memory that is read-only. Nobody writes, so
            # its pages stay the segment's own, and whoever did would write for himself alone.
            self._memory = _map(file, size, mmap.ACCESS_COPY)
        finally:
            os.close(file)
        _mapped.add(self._memory)
        self._array = ctypes.c_char * size
        self.size = size
        self.used = True

    def view(self, size: int, let_go: Callable[[], None]) -> memoryview:
        """Return the first `size` bytes, and have `let_go` called when nothing refers to them."""
        # Every view of this object refers to it, slices of slices too; a finalizer of the first
        # view alone would be called while others are in use.
        exporter = self._array.from_buffer(self._memory)
        weakref.finalize(exporter, let_go).atexit = False
        return memoryview(exporter).cast("B")[:size].toreadonly()


def _check(found: os.stat_result, inode: int) -> int:
    """Return the size of a file that may be that segment.

    Raises:
        OSError: It cannot be.
    """
    if found.st_ino != inode or not stat.S_ISREG(found.st_mode):
        raise OSError(f"segment {inode} is another file by now")
    if not 0 < found.st_size <= MAX_SHARED_BYTES:
        raise OSError(f"segment {inode} has {found.st_size} bytes")
    return found.st_size


def _map(file: int, size: int, access: int) -> mmap.mmap:
    """Map a file; from Python 3.13 on the mapping keeps no descriptor of it."""
    if sys.version_info >= (3, 13):
        return mmap.mmap(file, size, access=access, trackfd=False)
    return mmap.mmap(file, size, access=access)


class Mappings:
    """What a connection has mapped of its replica's segments. Used on its loop.

    Args:
        pid: The replica's process, as far as known here: a probe has to show it.
        release: Called on the loop with the inode of a segment that nobody here refers to.

    Attributes:
        offered: The replica may send a probe.
        proved: A probe was read, so that the replica may share.
    """

    def __init__(self, pid: int, release: Callable[[int], None]) -> None:
        self.offered = False
        self.proved = False
        self._pid = pid
        self._release = release
        self._loop = asyncio.get_running_loop()
        self._mappings: dict[int, Mapping] = {}
        self._review: asyncio.TimerHandle | None = None

    def probe(self, reference: Buffer) -> bytes:
        """Return what a probe holds; nothing where it cannot be mapped.

        Raises:
            FrameError: The reference is none, or none was asked for.
        """
        if not self.offered:
            raise FrameError("a probe that nobody asked for")
        self.offered = False
        fd, inode, size = read_reference(reference)
        try:
            mapping = Mapping(self._pid, fd, inode)
        except (OSError, ValueError):
            return b""
        self.proved = True
        return bytes(mapping.view(min(size, _NONCE_BYTES, mapping.size), _nothing))

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
    """Return the process at the other end of a Unix socket, as the kernel tells; 0 elsewhere.

    `/proc` may know another process by that number, or none.
    """
    peer = transport.get_extra_info("socket")
    if peer is None or peer.family != socket.AF_UNIX or not hasattr(os, "memfd_create"):
        return 0
    # A duplicate, since uvloop hands out an object that has no getsockopt of its own.
    try:
        file = os.dup(peer.fileno())
    except OSError:
        return 0
    with socket.socket(fileno=file) as duplicate:
        raw = duplicate.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(raw)[0])


def _nothing() -> None:
    pass
