"""Shared memory for long replies between two processes of one host.

A socket copies its data twice, and a proxy copies the data to its client twice more; on busy cores
these copies cost most of the time. A replica writes a long reply once into a segment, an anonymous
file in memory, and sends a reference to the segment. The caller maps the segment, reads the reply
in place, and releases the segment afterwards. If that is impossible (another host or container, no
free segment), the reply is sent over the socket.

A caller first proves that it can map segments, since its `/proc` may show other processes than the
socket names: it has to read a probe. A caller that cannot map a later reply, for example without
free descriptors, asks for that reply over the socket.
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
    "LINGER_S", "MAX_SHARED_BYTES", "RETRY_S", "SHARED_BYTES", "Segment", "SegmentMappings",
    "SegmentPool", "peer_process", "read_inode", "read_reference", "write_inode",
]  # fmt: skip

SHARED_BYTES = 1 << 18
"""The shortest reply that is sent in a segment."""
MAX_SHARED_BYTES = 16 << 20
"""The longest reply that is sent in a segment; the event loop waits while the reply is copied."""
LIMIT_BYTES = 64 << 20
"""Total size of the segments of a replica."""
MAX_SEGMENTS = 32
"""Most segments of a replica; each takes two descriptors before Python 3.13."""
MAX_MAPPINGS = 64
"""Most mapped segments of a process; each takes a descriptor before Python 3.13, and a proxy keeps
256 descriptors for purposes other than clients."""
RETRY_S = 30.0
"""Time after which a caller that could not map a segment offers to map again."""
LINGER_S = 1.0
"""Time that a replica leaves a caller to map the last replies before the connection is closed."""
REVIEW_INTERVAL_S = 3.0
"""A segment that was not used between two reviews is freed or unmapped."""
_PROBE_BYTES = 4096
_NONCE_BYTES = 16
_MAX_WASTE = 4
"""A segment is less than this many times as long as its message."""
_REFERENCE = Struct("<IQQ")
_INODE = Struct("<Q")
_CREDENTIALS = Struct("3i")
_SEALS = getattr(fcntl, "F_SEAL_SHRINK", 0) | getattr(fcntl, "F_SEAL_GROW", 0)

_mapped: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
"""The mapped segments of this process that are still referenced."""


class Segment:
    """Memory that other processes of this user may map.

    Attributes:
        size: In bytes.
        inode: Id of the segment, in both processes.
        used: Whether the segment was taken since the last review.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = True
        self._fd = os.memfd_create("alacarte", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self._fd, size)
            # Sealed: a read beyond the end of a shrunk file would kill the reading process.
            fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, _SEALS)
            self._memory = _map(self._fd, size, mmap.ACCESS_WRITE)
        except OSError:
            os.close(self._fd)
            raise
        self.inode = os.fstat(self._fd).st_ino

    def write(self, message: Message, size: int) -> bytes:
        """Copy a message into the segment; return the reference by which a caller maps it."""
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
        """Free the segment here; a process that has mapped it can still read it."""
        self._memory.close()
        os.close(self._fd)


class SegmentPool:
    """The segments of one replica. Used on its event loop.

    Args:
        limit: Total size of the segments, in bytes.
        max_segments: Most segments at a time.
    """

    def __init__(self, limit: int = LIMIT_BYTES, max_segments: int = MAX_SEGMENTS) -> None:
        self._limit = limit
        self._max_segments = max_segments
        self._size = 0
        self._count = 0
        self._closed = False
        self._nonce = secrets.token_bytes(_NONCE_BYTES)
        self._probe: Segment | None = None
        self._free: list[Segment] = []
        self._review: asyncio.TimerHandle | None = None

    def take(self, size: int) -> Segment | None:
        """Return a segment for `size` bytes, or None if a limit or the system allows none."""
        for segment in reversed(self._free):  # the last segment used is still in the CPU's cache
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
        return self._count < self._max_segments and self._size + size <= self._limit

    def release(self, segment: Segment) -> None:
        """Take back a segment that is no longer read."""
        if self._closed:
            self.drop(segment)
            return
        self._free.append(segment)
        if self._review is None:
            loop = asyncio.get_running_loop()
            self._review = loop.call_later(REVIEW_INTERVAL_S, self.review)

    def drop(self, segment: Segment) -> None:
        """Free a segment that a caller may still read, so it cannot be reused."""
        self._size -= segment.size
        self._count -= 1
        segment.close()

    def review(self) -> None:
        """Free the segments that were not taken since the last review."""
        self._review = None
        for segment in [each for each in self._free if not each.used]:
            self._free.remove(segment)
            self.drop(segment)
        for segment in self._free:
            segment.used = False
        if self._free:
            self._review = asyncio.get_running_loop().call_later(REVIEW_INTERVAL_S, self.review)

    def close(self) -> None:
        """Free all unused segments, and from now on each segment that is released."""
        self._closed = True
        if self._review is not None:
            self._review.cancel()
        for segment in self._free:
            self.drop(segment)
        self._free.clear()
        if self._probe is not None:
            self._probe.close()
            self._probe = None

    # --- probe ----------------------------------------------------------------------------

    def probe(self) -> bytes | None:
        """Return a reference to a nonce that only a reader of the segment knows, or None.

        None if the system allows no further segment.
        """
        if self._closed:
            return None
        if self._probe is None:
            try:
                self._probe = Segment(_PROBE_BYTES)
            except OSError:
                return None
        return self._probe.write((self._nonce,), _NONCE_BYTES)

    def proves(self, read: Buffer) -> bool:
        """Return whether the bytes that a caller has read are those of the probe."""
        return secrets.compare_digest(read, self._nonce)


class MappedSegment:
    """A segment of another process, mapped here. Mapping and unmapping cost as much as a copy.

    Attributes:
        size: In bytes.
        used: Whether a message in the segment was read since the last review.
    """

    def __init__(self, pid: int, fd: int, inode: int) -> None:
        if len(_mapped) >= MAX_MAPPINGS:
            raise OSError(f"{MAX_MAPPINGS} segments are mapped")
        path = f"/proc/{pid}/fd/{fd}"
        # Checked before it is opened, since opening another kind of file may block or act.
        size = _check(os.stat(path), inode)
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if _check(os.fstat(file), inode) != size:
                raise OSError(f"the size of segment {inode} changes")
            if fcntl.fcntl(file, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
                raise OSError(f"segment {inode} is not sealed against a change of its size")
            # A private mapping, since ctypes takes no read-only memory. Without writes its pages
            # stay those of the segment.
            self._memory = _map(file, size, mmap.ACCESS_COPY)
        finally:
            os.close(file)
        _mapped.add(self._memory)
        self._array = ctypes.c_char * size
        self.size = size
        self.used = True

    def view(self, size: int, on_release: Callable[[], None]) -> memoryview:
        """Return the first `size` bytes; call `on_release` when no reference to them is left."""
        # Every view and every slice refers to the exporter; a finalizer of the first view would
        # run while others are in use.
        exporter = self._array.from_buffer(self._memory)
        weakref.finalize(exporter, on_release).atexit = False
        return memoryview(exporter).cast("B")[:size].toreadonly()


def _check(found: os.stat_result, inode: int) -> int:
    """Return the size of a file that may be segment `inode`.

    Raises:
        OSError: The file is not that segment.
    """
    if found.st_ino != inode or not stat.S_ISREG(found.st_mode):
        raise OSError(f"segment {inode} no longer exists; its descriptor is another file")
    if not 0 < found.st_size <= MAX_SHARED_BYTES:
        raise OSError(f"segment {inode} has {found.st_size} bytes")
    return found.st_size


def _map(file: int, size: int, access: int) -> mmap.mmap:
    """Map a file; from Python 3.13 on the mapping keeps no descriptor open."""
    if sys.version_info >= (3, 13):
        return mmap.mmap(file, size, access=access, trackfd=False)
    return mmap.mmap(file, size, access=access)


class SegmentMappings:
    """The segments of a replica that a caller's connection has mapped. Used on its event loop.

    Args:
        pid: The replica's process according to the socket; a probe confirms it.
        release: Called on the loop with the inode of a segment that is no longer referenced.

    Attributes:
        offered: Whether the replica may send a probe.
        proved: Whether a probe was read, so the replica may share memory.
    """

    def __init__(self, pid: int, release: Callable[[int], None]) -> None:
        self.offered = False
        self.proved = False
        self._pid = pid
        self._release = release
        self._loop = asyncio.get_running_loop()
        self._mappings: dict[int, MappedSegment] = {}
        self._review: asyncio.TimerHandle | None = None

    def probe(self, reference: Buffer) -> bytes:
        """Return the bytes of a probe; b"" if the probe cannot be mapped.

        Raises:
            FrameError: The reference is malformed, or no probe was offered to be read.
        """
        if not self.offered:
            raise FrameError("a probe without an offer to map")
        self.offered = False
        fd, inode, size = read_reference(reference)
        try:
            mapping = MappedSegment(self._pid, fd, inode)
        except (OSError, ValueError):
            return b""
        self.proved = True
        return bytes(mapping.view(min(size, _NONCE_BYTES, mapping.size), _nothing))

    def read(self, reference: Buffer, max_size: int) -> memoryview:
        """Return the message that a reference names.

        Raises:
            FrameError: The reference is malformed.
            OSError: The segment cannot be mapped.
        """
        fd, inode, size = read_reference(reference)
        if not 0 < size <= max_size:
            raise FrameError(f"a reference to {size} bytes; {max_size} are allowed")
        mapping = self._mappings.get(inode)
        if mapping is None:
            mapping = self._mappings[inode] = MappedSegment(self._pid, fd, inode)
            if self._review is None:
                self._review = self._loop.call_later(REVIEW_INTERVAL_S, self.review)
        if size > mapping.size:
            raise FrameError(f"a reference to {size} bytes; the segment holds {mapping.size}")
        mapping.used = True
        return mapping.view(size, functools.partial(self._release_later, inode))

    def _release_later(self, inode: int) -> None:
        # A finalizer: runs in any thread, between any two bytecodes.
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._release, inode)

    def review(self) -> None:
        """Unmap the segments that were not used since the last review."""
        self._mappings = {inode: each for inode, each in self._mappings.items() if each.used}
        for mapping in self._mappings.values():
            mapping.used = False
        self._review = None
        if self._mappings:
            self._review = self._loop.call_later(REVIEW_INTERVAL_S, self.review)

    def close(self) -> None:
        """Unmap all segments, those with a referenced message when that reference goes."""
        if self._review is not None:
            self._review.cancel()
        self._mappings.clear()


def read_reference(reference: Buffer) -> tuple[int, int, int]:
    """Return the descriptor, inode and size in a reference to a message in shared memory.

    Raises:
        FrameError: The reference is malformed.
    """
    try:
        fd, inode, size = _REFERENCE.unpack(reference)
    except StructError:
        raise FrameError(f"a reference in {len(reference)} bytes") from None
    return int(fd), int(inode), int(size)


def write_inode(inode: int) -> bytes:
    """Return the payload of a RELEASE or COPY frame."""
    return _INODE.pack(inode)


def read_inode(payload: Buffer) -> int:
    """Return the inode in the payload of a RELEASE or COPY frame.

    Raises:
        FrameError: The payload is malformed.
    """
    try:
        (inode,) = _INODE.unpack(payload)
    except StructError:
        raise FrameError(f"a release in {len(payload)} bytes") from None
    return int(inode)


def peer_process(transport: asyncio.Transport) -> int:
    """Return the peer's process id on a Unix socket, from the kernel; 0 for other sockets.

    In another PID namespace, this process's `/proc` may show another process by that id, or none.
    """
    peer = transport.get_extra_info("socket")
    if peer is None or peer.family != socket.AF_UNIX or not hasattr(os, "memfd_create"):
        return 0
    # A duplicate, since uvloop's pseudo-socket has no `getsockopt`.
    try:
        file = os.dup(peer.fileno())
    except OSError:
        return 0
    with socket.socket(fileno=file) as duplicate:
        raw = duplicate.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(raw)[0])


def _nothing() -> None:
    pass
