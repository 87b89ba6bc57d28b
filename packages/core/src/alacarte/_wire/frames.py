"""Frames, the units of a connection, decoded without any I/O.

A frame is a 12-byte header and a payload. Little-endian:

    size u32 | kind u8 | flags u8 | load u16 | stream u32

`load` is the number of requests in flight at the sending replica; a caller sends 0. A message too
long for one frame is announced with its size (flag `LONG`) and follows in `CHUNK` frames, between
which other frames may be sent. The decoder has the socket read all chunks of a message into one
buffer, so only the kernel copies the bytes.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from ..types import Buffer
from .buffer_pool import long_buffer_pool

__all__ = [
    "BYPASS_LIMIT",
    "CHUNK_BYTES",
    "FINAL",
    "HEADER",
    "LONG",
    "MAX_LOAD",
    "STREAMING",
    "Decoder",
    "Frame",
    "FrameError",
    "Kind",
    "long_header",
]

HEADER = Struct("<IBBHI")
HEADER_SIZE = HEADER.size
LENGTH = Struct("<Q")

FINAL = 1
"""The last frame that this side sends on the stream."""
LONG = 2
"""The payload is the message's size (u64); its bytes follow in CHUNK frames."""
STREAMING = 4
"""On a REQUEST: the caller expects a streaming reply."""
BYPASS_LIMIT = 8
"""On a REQUEST: the replica accepts the call even at its limit on requests."""
_FLAGS = FINAL | LONG | STREAMING | BYPASS_LIMIT

CHUNK_BYTES = 1 << 20
"""The longest payload of a frame."""
MAX_LOAD = 0xFFFF
_SCRATCH_BYTES = 1 << 18
_IN_PLACE_BYTES = 1 << 15
"""A longer payload of which a part is missing is read into a buffer of its own."""
_POOLED_BYTES = 1 << 18
"""Size from which such a buffer comes from the pool."""


class Kind(IntEnum):
    """Kind of a frame."""

    HELLO = 1
    CHALLENGE = 2
    PROOF = 3
    WELCOME = 4
    REQUEST = 5
    RESPONSE = 6
    DATA = 7
    CHUNK = 8
    END = 9
    CANCEL = 10
    ERROR = 11
    REJECT = 12
    CREDIT = 13
    LOAD = 14
    GOAWAY = 15
    PING = 16
    PONG = 17
    ADVERTISE = 18
    SHARED = 19
    RELEASE = 20
    MAPS = 21
    PROBE = 22
    COPY = 23


_LAST_KIND = max(Kind)
_CHUNK = int(Kind.CHUNK)
_DROPS_PARTIAL = frozenset({int(Kind.CANCEL), int(Kind.ERROR), int(Kind.REJECT)})
_MAY_BE_LONG = frozenset({int(Kind.REQUEST), int(Kind.RESPONSE), int(Kind.DATA), int(Kind.ERROR)})


class FrameError(Exception):
    """The peer violated the protocol; the connection must be closed."""


class Frame(NamedTuple):
    """A frame, or a reassembled long message. `kind` is a `Kind` as a plain int."""

    kind: int
    flags: int
    load: int
    stream: int
    payload: Buffer


_new = tuple.__new__


class _Partial:
    """A long message of which a part has arrived."""

    __slots__ = ("data", "filled", "flags", "kind", "load", "view")

    def __init__(self, kind: int, flags: int, load: int, size: int) -> None:
        self.kind = kind
        self.flags = flags
        self.load = load
        self.data = long_buffer_pool.take(size)
        self.view = memoryview(self.data)
        self.filled = 0


def long_header(kind: int, flags: int, load: int, stream: int, size: int) -> bytes:
    """Return the frame that announces a long message of `size` bytes."""
    return HEADER.pack(LENGTH.size, kind, flags | LONG, load, stream) + LENGTH.pack(size)


class Decoder:
    """Decoder of received bytes into frames. Does no I/O.

    Put received bytes into the buffer of `get_buffer`, then pass their number to `received`.

    Args:
        max_frame: The longest payload of a frame, in bytes.
        max_message: The longest message, in bytes, and the total size of the unfinished long
            messages of the connection. 0 allows no long message at all.
    """

    def __init__(self, *, max_frame: int = CHUNK_BYTES, max_message: int = 0) -> None:
        self.max_frame = max_frame
        self.max_message = max_message
        self._scratch = bytearray(_SCRATCH_BYTES)
        self._view = memoryview(self._scratch)
        self._start = 0
        self._end = 0
        self._partials: dict[int, _Partial] = {}
        self._reserved = 0
        # The payload that the socket is read into: its buffer, the bytes read, and its frame.
        self._target: memoryview | None = None
        self._filled = 0
        self._frame: tuple[int, int, int, int, Buffer] = (0, 0, 0, 0, b"")

    def get_buffer(self) -> memoryview:
        """Return the buffer for the next bytes of the socket, never empty."""
        if self._target is not None:
            return self._target[self._filled :]
        return self._view[self._end :] if self._end else self._view

    def received(self, count: int) -> list[Frame]:
        """Decode `count` bytes of the last buffer; return the frames that are complete now.

        Raises:
            FrameError: The bytes are not a valid frame, or the frame is not allowed.
        """
        frames: list[Frame] = []
        if self._target is not None:
            self._filled += count
            if self._filled == len(self._target):
                self._finish(frames)
            return frames
        self._end += count
        self._scan(frames)
        return frames

    def forget(self, stream: int) -> None:
        """Drop the arrived part of a long message; its further chunks will be discarded."""
        if self._partials:
            self._drop(stream)

    def _scan(self, frames: list[Frame]) -> None:
        scratch, end, at = self._scratch, self._end, self._start
        while end - at >= HEADER_SIZE:
            size, kind, flags, load, stream = HEADER.unpack_from(scratch, at)
            if size > self.max_frame or not 0 < kind <= _LAST_KIND or flags & ~_FLAGS:
                raise FrameError(self._violation(size, kind, flags))
            body = at + HEADER_SIZE
            if end - body >= size and kind != _CHUNK and not flags & LONG:
                if self._partials and kind in _DROPS_PARTIAL:
                    self._drop(stream)
                payload = scratch[body : body + size]
                # In a third of the time of the named tuple's constructor.
                frames.append(_new(Frame, (kind, flags, load, stream, payload)))
                at = body + size
            elif kind == _CHUNK or size > _IN_PLACE_BYTES:
                have = min(size, end - body)
                self._begin(size, kind, flags, load, stream)
                assert self._target is not None
                self._target[:have] = self._view[body : body + have]
                self._filled = have
                at = body + have
                if have < size:
                    break
                self._finish(frames)
            elif end - body >= size:
                self._announce(kind, flags, load, stream, self._view[body : body + size])
                at = body + size
            else:
                break
        self._compact(at, end)

    def _compact(self, at: int, end: int) -> None:
        """Move an incomplete frame to the front of the buffer if its rest might not fit."""
        if at == end:
            self._start = self._end = 0
        elif _SCRATCH_BYTES - at < _IN_PLACE_BYTES + HEADER_SIZE:
            left = end - at
            self._scratch[:left] = self._scratch[at:end]
            self._start, self._end = 0, left
        else:
            self._start = at

    def _begin(self, size: int, kind: int, flags: int, load: int, stream: int) -> None:
        """Choose the buffer into which the next payload is read."""
        if flags & LONG:
            raise FrameError(f"a long message was announced in {size} bytes")
        if kind != _CHUNK:
            # From this size on, clearing a fresh buffer takes longer than finding a used one.
            data = bytearray(size) if size < _POOLED_BYTES else long_buffer_pool.take(size)
            self._target = memoryview(data)
        elif (partial := self._partials.get(stream)) is not None:
            if partial.filled + size > len(partial.data):
                raise FrameError(f"stream {stream} sent more bytes than it announced")
            data = partial.data
            self._target = partial.view[partial.filled : partial.filled + size]
            partial.filled += size
        elif self.max_message:
            # A chunk of a cancelled message, which crossed with the CANCEL: read and discarded.
            data = bytearray(size)
            self._target = memoryview(data)
        else:
            raise FrameError("a chunk where no long message is allowed")
        self._filled = 0
        self._frame = (kind, flags, load, stream, data)

    def _finish(self, frames: list[Frame]) -> None:
        self._target = None
        kind, flags, load, stream, data = self._frame
        self._frame = (0, 0, 0, 0, b"")
        if kind != _CHUNK:
            frames.append(Frame(kind, flags, load, stream, data))
            return
        partial = self._partials.get(stream)
        if partial is not None and partial.data is data and partial.filled == len(data):
            self._drop(stream)
            frames.append(Frame(partial.kind, partial.flags, load, stream, data))

    def _announce(self, kind: int, flags: int, load: int, stream: int, size: Buffer) -> None:
        if len(size) != LENGTH.size or kind not in _MAY_BE_LONG:
            raise FrameError(f"a frame of kind {kind} cannot announce a long message")
        if kind in _DROPS_PARTIAL:
            self._drop(stream)
        if stream in self._partials:
            raise FrameError(f"stream {stream} announced a message within another")
        (length,) = LENGTH.unpack(size)
        if not 0 < length <= self.max_message - self._reserved:
            raise FrameError(
                f"a message of {length} bytes was announced; {self.max_message - self._reserved} "
                f"of {self.max_message} are left (ClusterOptions.max_message_bytes)"
            )
        self._reserved += length
        self._partials[stream] = _Partial(kind, flags & ~LONG, load, length)

    def _drop(self, stream: int) -> None:
        partial = self._partials.pop(stream, None)
        if partial is not None:
            self._reserved -= len(partial.data)

    def _violation(self, size: int, kind: int, flags: int) -> str:
        if size > self.max_frame:
            return f"a frame of {size} bytes; {self.max_frame} are allowed here"
        return f"a frame of unknown kind {kind} or flags {flags:#04x}"
