"""Frames over one socket: the part of a connection that both ends share.

`Connection` reads and writes frames; its subclasses `CallerConnection` and `ReplicaConnection`
interpret them. Everything runs on the event loop of the socket.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections import deque
from collections.abc import Callable
from typing import cast

from ..errors import ConfigError
from ..types import Buffer, Message
from .flow import Inbox
from .frames import (
    CHUNK_BYTES,
    FINAL,
    HEADER,
    Decoder,
    Frame,
    FrameError,
    Kind,
    long_header,
)

__all__ = ["Connection", "LoadCounter", "message_size", "supports_writev"]

log = logging.getLogger("alacarte.wire")

_JOIN_BYTES = 1 << 16
"""A message up to this size is joined: copying costs less than one write for each piece."""
_HIGH_WATER_BYTES = 4 << 20
_SOCKET_BYTES = 2 << 20
_MAX_GATHERED_FRAMES = 64
"""Frames held back until the end of a read, to be written together: 4 MiB at most."""

_CHUNK = int(Kind.CHUNK)


def message_size(message: Message) -> int:
    """Return the size of a message in bytes."""
    size = 0
    for piece in message:
        # Most pieces are `bytes`, and a view costs more than the rest of this loop.
        size += len(piece) if type(piece) is bytes else memoryview(piece).nbytes
    return size


class LoadCounter:
    """Number of requests in flight at a replica, which its connections put into every frame."""

    __slots__ = ("ongoing",)

    def __init__(self) -> None:
        self.ongoing = 0


class Connection(asyncio.BufferedProtocol):
    """One end of a connection. Subclasses handle `frame_received` and `lost`.

    Args:
        decoder: Decodes the received bytes.
        load: Sent in every frame; a caller's stays 0.

    Attributes:
        has_received: Bytes have arrived since this was last set to False.
        arrived: Inboxes that got messages for their sinks in this read.
    """

    def __init__(self, decoder: Decoder, load: LoadCounter) -> None:
        self.load = load
        self.has_received = True
        self.arrived: list[Inbox] = []
        self.transport: asyncio.Transport | None = None
        self._decoder = decoder
        self._writable: asyncio.Future[None] | None = None
        self._outgoing: list[bytes] = []
        self._is_gathering = False  # during a read, whose answers are written together
        self._deferred: list[Callable[[], None]] = []
        self._supports_writev = False
        self._pumps: dict[int, asyncio.Task[None]] = {}
        # Bytes of the long messages begun at the peer, and the messages that wait for room there.
        self._unfinished = 0
        self._room_waiters: deque[tuple[int, asyncio.Future[None]]] = deque()

    # --- implemented by subclasses ------------------------------------------------------

    def frame_received(self, frame: Frame) -> None:
        """Handle a frame; each end of a connection overrides this method."""
        raise NotImplementedError(f"{type(self).__name__} must handle frames")

    def frames_arrived(self, frames: list[Frame]) -> None:
        """Inspect the frames of one read before the first of them is handled."""

    def lost(self, error: Exception | None) -> None:
        """Handle the end of the connection: closed, or broken by an error."""

    # --- reading ------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether the transport is open."""
        return self.transport is not None and not self.transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=_HIGH_WATER_BYTES)
        self._supports_writev = supports_writev(transport)
        _enlarge_send_buffer(self.transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._decoder.get_buffer()

    def buffer_updated(self, count: int) -> None:
        self.has_received = True
        self._is_gathering = True
        try:
            frames = self._decoder.received(count)
            if len(frames) > 1:
                self.frames_arrived(frames)
            for frame in frames:
                self.frame_received(frame)
            if self.arrived:
                self._deliver()
        except FrameError as error:
            self.refuse(str(error))
        finally:
            self._is_gathering = False
            self._flush()

    def _deliver(self) -> None:
        """Pass the messages of this read to the sinks that wait for them."""
        arrived = self.arrived.copy()
        self.arrived.clear()
        for inbox in arrived:
            inbox.deliver()

    def refuse(self, reason: str) -> None:
        """Close the connection because of a fault of the peer, and log the reason once."""
        if self.connected:
            log.warning("closed a connection (%s): %s", self.peer, reason)
        self.abort()

    @property
    def peer(self) -> str:
        """Address of the peer, for logs."""
        assert self.transport is not None
        address = self.transport.get_extra_info("peername") or "unix socket"
        return str(address)

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        self.resume_writing()
        for pump in self._pumps.values():
            pump.cancel()
        self.lost(error)

    def abort(self) -> None:
        """Close at once; data that the socket does not take now is dropped."""
        if self.transport is not None:
            self._flush()
            self.transport.abort()

    def close(self) -> None:
        """Close after all written data has been sent, the rest of long messages included."""
        if self._pumps:
            pump = next(iter(self._pumps.values()))
            pump.add_done_callback(lambda done: self.close())
        elif self.transport is not None:
            self._flush()
            self.transport.close()

    # --- writing ------------------------------------------------------------------------

    def pause_writing(self) -> None:
        if self._writable is None:
            self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._writable is not None:
            if not self._writable.done():
                self._writable.set_result(None)
            self._writable = None

    @property
    def expects_more_frames(self) -> bool:
        """Whether other frames are likely to be written in this iteration of the loop."""
        return False

    def _write(self, frame: bytes) -> None:
        """Write a frame at once, or together with other frames of this read or iteration.

        A write wakes the peer, which costs more than the rest of a small call.
        """
        if self._outgoing:
            self._outgoing.append(frame)
            if len(self._outgoing) >= _MAX_GATHERED_FRAMES and self._is_gathering:
                self._flush()
        elif self.transport is None:
            return
        elif self._is_gathering:
            self._outgoing.append(frame)
        elif self.expects_more_frames:
            self._outgoing.append(frame)
            asyncio.get_running_loop().call_soon(self._flush)
        else:
            self.transport.write(frame)

    def _write_pieces(self, pieces: list[Buffer]) -> None:
        assert self.transport is not None
        if self._supports_writev:
            self.transport.writelines(pieces)
        else:
            # Before Python 3.12.9 and 3.13.2 asyncio's `writelines` never pauses the protocol
            # (CVE-2024-12254), and before 3.12 `writelines` joins the pieces itself.
            self.transport.write(b"".join(pieces))

    def _flush(self) -> None:
        if self._outgoing:
            frames, self._outgoing = self._outgoing, []
            if self.transport is not None:
                self.transport.write(b"".join(frames))

    def send(self, kind: int, flags: int, stream: int, payload: bytes = b"") -> None:
        """Write one short frame."""
        self._write(HEADER.pack(len(payload), kind, flags, self.load.ongoing, stream) + payload)

    def send_message(self, kind: int, flags: int, stream: int, message: Message) -> int:
        """Write one message of any length; return its size in bytes.

        A long message is written in chunks, between which frames of other streams are sent. Its
        first chunk waits until the peer has room for the whole message.

        Raises:
            ConfigError: The message is longer than `ClusterOptions.max_message_bytes`; nothing
                was sent.
        """
        size = message_size(message)
        if self.transport is None:
            return size
        if size <= _JOIN_BYTES:
            header = HEADER.pack(size, kind, flags, self.load.ongoing, stream)
            self._write(b"".join((header, *message)))
        elif size > self._decoder.max_message:
            raise ConfigError(
                f"a message has {size} bytes; {self._decoder.max_message} are allowed. Send less "
                "at a time, or raise max_message_bytes in serve.start(cluster_options=...)."
            )
        elif size <= CHUNK_BYTES and self._writable is None:
            self._flush()
            header = HEADER.pack(size, kind, flags, self.load.ongoing, stream)
            self._write_pieces([header, *message])
        else:
            pump = asyncio.get_running_loop().create_task(
                self._pump(kind, flags, stream, message, size)
            )
            self._pumps[stream] = pump
            pump.add_done_callback(lambda done: self._pump_done(stream, done))
        return size

    def _pump_done(self, stream: int, pump: asyncio.Task[None]) -> None:
        if self._pumps.get(stream) is pump:  # the pump of an error may have replaced it
            del self._pumps[stream]

    async def _pump(self, kind: int, flags: int, stream: int, message: Message, size: int) -> None:
        """Announce a long message and write it in chunks."""
        await self._reserve_room(size)
        try:
            if self.transport is not None and self.is_wanted(stream):
                self._write(long_header(kind, flags, self.load.ongoing, stream, size))
                await self._write_chunks(stream, message)
        finally:
            self._unfinished -= size
            self._admit_waiters()

    async def _reserve_room(self, size: int) -> None:
        """Wait, first come first served, until the peer has room for a message of `size` bytes."""
        if self._room_waiters or self._unfinished + size > self._decoder.max_message:
            reserved = asyncio.get_running_loop().create_future()
            self._room_waiters.append((size, reserved))
            try:
                await reserved
            except asyncio.CancelledError:
                if not reserved.cancelled():  # the room was reserved in the same iteration
                    self._unfinished -= size
                    self._admit_waiters()
                raise
        else:
            self._unfinished += size

    def _admit_waiters(self) -> None:
        while (
            self._room_waiters
            and self._unfinished + self._room_waiters[0][0] <= self._decoder.max_message
        ):
            size, reserved = self._room_waiters.popleft()
            if not reserved.done():
                self._unfinished += size
                reserved.set_result(None)

    def interrupt(self, stream: int) -> bool:
        """Stop sending the long message of this stream; return whether a message was stopped.

        The caller of this method has to inform the peer, which holds room for the message.
        """
        pump = self._pumps.get(stream)
        return pump is not None and pump.cancel()

    def _stop_pump(self, stream: int) -> None:
        """Stop sending a long message that the peer has cancelled."""
        if self.interrupt(stream):
            # The announcement may have crossed with the peer's CANCEL, and hold room at the peer.
            self.send(Kind.CANCEL, FINAL, stream)

    async def _write_chunks(self, stream: int, message: Message) -> None:
        for chunk in _chunks(message):
            await self.wait_writable()
            if self.transport is None:
                return
            if not self.is_wanted(stream):
                # The peer has ended the stream, perhaps before the announcement arrived.
                self.send(Kind.CANCEL, FINAL, stream)
                return
            self._flush()
            header = HEADER.pack(message_size(chunk), _CHUNK, 0, self.load.ongoing, stream)
            self._write_pieces([header, *chunk])

    async def wait_sent(self, stream: int) -> None:
        """Wait until no long message of this stream is being written."""
        if stream in self._pumps:
            await asyncio.wait((self._pumps[stream],))

    async def wait_writable(self) -> None:
        """Wait until the socket takes more data."""
        while self._writable is not None:
            await asyncio.shield(self._writable)

    def is_busy(self, stream: int) -> bool:
        """Whether the socket is full, or a long message of this stream is being written."""
        return self._writable is not None or stream in self._pumps

    def send_soon(self, send: Callable[[], None]) -> None:
        """Call `send` at the end of this iteration; the frames of an iteration leave together."""
        self._deferred.append(send)
        if len(self._deferred) == 1:
            asyncio.get_running_loop().call_soon(self._send_deferred)

    def _send_deferred(self) -> None:
        due, self._deferred = self._deferred, []
        self._is_gathering = True
        try:
            for send in due:
                try:
                    send()
                except Exception as error:  # a failure of one stream must not stop the others
                    asyncio.get_running_loop().call_exception_handler(
                        {"message": "the messages of a stream were not sent", "exception": error}
                    )
        finally:
            self._is_gathering = False
            self._flush()

    def is_wanted(self, stream: int) -> bool:
        """Return whether the peer still waits for a long message of this stream."""
        return True


def supports_writev(transport: asyncio.BaseTransport) -> bool:
    """Return whether a transport writes several buffers in one system call, without joining."""
    return type(transport).__module__.startswith("uvloop")


def _enlarge_send_buffer(transport: asyncio.Transport) -> None:
    """Enlarge the kernel's send buffer, so that long messages wake the peer less often."""
    peer = transport.get_extra_info("socket")
    if peer is not None and peer.family == socket.AF_UNIX:
        # A duplicate, since uvloop's pseudo-socket has no `setsockopt`.
        with socket.socket(fileno=os.dup(peer.fileno())) as duplicate:
            duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BYTES)


def _chunks(message: Message) -> list[list[Buffer]]:
    """Split a message into chunks, lists of pieces of at most `CHUNK_BYTES` together."""
    chunks: list[list[Buffer]] = [[]]
    room = CHUNK_BYTES
    for piece in message:
        view = memoryview(piece).cast("B")
        while view.nbytes:
            part, view = view[:room], view[room:]
            chunks[-1].append(part)
            room -= part.nbytes
            if not room:
                chunks.append([])
                room = CHUNK_BYTES
    return [chunk for chunk in chunks if chunk]
