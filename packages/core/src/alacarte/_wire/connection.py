"""A connection: frames over one socket, and what both of its ends have in common.

`Connection` reads and writes frames; `CallerConnection` (caller.py) and `ReplicaConnection`
(replica.py) know what they mean. Everything runs on the event loop the socket belongs to.
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

__all__ = ["Connection", "Load", "message_size", "scatters"]

log = logging.getLogger("alacarte.wire")

_JOIN_BYTES = 1 << 16
"""Up to here copying the pieces together costs less than handing them over one by one."""
_HIGH_WATER_BYTES = 4 << 20
_SOCKET_BYTES = 2 << 20
_GATHERED = 64
"""Frames that wait for the end of a read, to be written together: at most 4 MiB."""

_CHUNK = int(Kind.CHUNK)


def message_size(message: Message) -> int:
    size = 0
    for piece in message:
        # A view is slower to make than everything else here, and `bytes` is what most pieces are.
        size += len(piece) if type(piece) is bytes else memoryview(piece).nbytes
    return size


class Load:
    """How many requests a replica is working on, as its connections put it into every frame."""

    __slots__ = ("ongoing",)

    def __init__(self) -> None:
        self.ongoing = 0


class Connection(asyncio.BufferedProtocol):
    """One end of a connection. Subclasses handle `frame_received` and `lost`.

    Args:
        decoder: Of what is received.
        load: Said in every frame; a caller's stays 0.

    Attributes:
        heard: Something arrived since this was last set to False.
        arrived: Inboxes with messages of this read for their sinks.
    """

    def __init__(self, decoder: Decoder, load: Load) -> None:
        self.load = load
        self.heard = True
        self.arrived: list[Inbox] = []
        self.transport: asyncio.Transport | None = None
        self._decoder = decoder
        self._writable: asyncio.Future[None] | None = None
        self._outgoing: list[bytes] = []
        self._gathers = False  # frames are being received, and what answers them leaves together
        self._due: list[Callable[[], None]] = []
        self._scatters = False
        self._pumps: dict[int, asyncio.Task[None]] = {}
        # Long messages that the peer holds unfinished, in bytes, and those it has no room for.
        self._unfinished = 0
        self._turns: deque[tuple[int, asyncio.Future[None]]] = deque()

    # --- what subclasses know -----------------------------------------------------------

    def frame_received(self, frame: Frame) -> None:
        raise NotImplementedError(f"{type(self).__name__} must handle frames")

    def look_ahead(self, frames: list[Frame]) -> None:
        """See frames that have arrived together, before the first of them is handled."""

    def lost(self, error: Exception | None) -> None:
        """The connection is gone, for the reason given or in peace."""

    # --- reading ------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=_HIGH_WATER_BYTES)
        self._scatters = scatters(transport)
        _widen(self.transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._decoder.get_buffer()

    def buffer_updated(self, count: int) -> None:
        self.heard = True
        self._gathers = True
        try:
            frames = self._decoder.received(count)
            if len(frames) > 1:
                self.look_ahead(frames)
            for frame in frames:
                self.frame_received(frame)
            if self.arrived:
                self._deliver()
        except FrameError as error:
            self.refuse(str(error))
        finally:
            self._gathers = False
            self._flush()

    def _deliver(self) -> None:
        """Let the inboxes whose readers have a sink give on what this read has brought."""
        arrived = self.arrived.copy()
        self.arrived.clear()
        for inbox in arrived:
            inbox.deliver()

    def refuse(self, reason: str) -> None:
        """Close the connection over something its peer did, and say so once."""
        if self.connected:
            log.warning("closed a connection (%s): %s", self.peer, reason)
        self.abort()

    @property
    def peer(self) -> str:
        """The other end, for logs."""
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
        """Close at once. Of what was written, only that is sent which the socket takes now."""
        if self.transport is not None:
            self._flush()
            self.transport.abort()

    def close(self) -> None:
        """Close when what was written has been sent, the rest of long messages included."""
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
    def crowded(self) -> bool:
        """Whether other frames are likely to follow at once, so that waiting for them pays."""
        return False

    def _write(self, frame: bytes) -> None:
        """Write a frame: at once when alone, else with those of this read or turn of the loop.

        A write wakes the peer, which costs more than all the rest of a small call.
        """
        if self._outgoing:
            self._outgoing.append(frame)
            if len(self._outgoing) >= _GATHERED and self._gathers:
                self._flush()
        elif self.transport is None:
            return
        elif self._gathers:
            self._outgoing.append(frame)
        elif self.crowded:
            self._outgoing.append(frame)
            asyncio.get_running_loop().call_soon(self._flush)
        else:
            self.transport.write(frame)

    def _write_pieces(self, pieces: list[Buffer]) -> None:
        assert self.transport is not None
        if self._scatters:
            self.transport.writelines(pieces)
        else:
            # Before Python 3.12.9 and 3.13.2 asyncio's `writelines` never says that it is full
            # (CVE-2024-12254), and before 3.12 it joins the pieces itself.
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

        A long one is cut into chunks that are written as the socket takes them, so that other
        streams pass in between. It begins when the peer has room for all of it, beside others.

        Raises:
            ConfigError: It is longer than `ClusterOptions.max_message_bytes`; nothing was sent.
        """
        size = message_size(message)
        if self.transport is None:
            return size
        if size <= _JOIN_BYTES:
            header = HEADER.pack(size, kind, flags, self.load.ongoing, stream)
            self._write(b"".join((header, *message)))
        elif size > self._decoder.max_message:
            raise ConfigError(
                f"a message of {size} bytes is longer than the {self._decoder.max_message} "
                "allowed; send less at a time, or raise max_message_bytes in "
                "serve.start(cluster_options=...)."
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
            pump.add_done_callback(lambda done: self._pumped_out(stream, done))
        return size

    def _pumped_out(self, stream: int, pump: asyncio.Task[None]) -> None:
        if self._pumps.get(stream) is pump:  # an error may be on its way in its place
            del self._pumps[stream]

    async def _pump(self, kind: int, flags: int, stream: int, message: Message, size: int) -> None:
        """Announce a long message and write it in chunks."""
        await self._turn(size)
        try:
            if self.transport is not None and self.wants(stream):
                self._write(long_header(kind, flags, self.load.ongoing, stream, size))
                await self._write_chunks(stream, message)
        finally:
            self._unfinished -= size
            self._begin_turns()

    async def _turn(self, size: int) -> None:
        """Wait, in order, until the peer has room for so many bytes."""
        if self._turns or self._unfinished + size > self._decoder.max_message:
            turn = asyncio.get_running_loop().create_future()
            self._turns.append((size, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if not turn.cancelled():  # it came just then
                    self._unfinished -= size
                    self._begin_turns()
                raise
        else:
            self._unfinished += size

    def _begin_turns(self) -> None:
        while self._turns and self._unfinished + self._turns[0][0] <= self._decoder.max_message:
            size, turn = self._turns.popleft()
            if not turn.done():
                self._unfinished += size
                turn.set_result(None)

    def interrupt(self, stream: int) -> bool:
        """Send no more of the long message of this stream; return whether there was one.

        The peer has to hear of it, since it holds room for what was announced.
        """
        pump = self._pumps.get(stream)
        return pump is not None and pump.cancel()

    def _stop_pump(self, stream: int) -> None:
        """Send no more of a long message that the peer has given up."""
        if self.interrupt(stream):
            # The announcement may have crossed with the peer's CANCEL, and hold room there.
            self.send(Kind.CANCEL, FINAL, stream)

    async def _write_chunks(self, stream: int, message: Message) -> None:
        for chunk in _chunks(message):
            await self.writable()
            if self.transport is None:
                return
            if not self.wants(stream):
                # The peer has ended the stream, perhaps before it saw the announcement.
                self.send(Kind.CANCEL, FINAL, stream)
                return
            self._flush()
            header = HEADER.pack(message_size(chunk), _CHUNK, 0, self.load.ongoing, stream)
            self._write_pieces([header, *chunk])

    async def pumped(self, stream: int) -> None:
        """Return when no long message of this stream is being written."""
        if stream in self._pumps:
            await asyncio.wait((self._pumps[stream],))

    async def writable(self) -> None:
        """Return when the socket takes more."""
        while self._writable is not None:
            await asyncio.shield(self._writable)

    def is_busy(self, stream: int) -> bool:
        """Whether the socket is full, or a long message of this stream is being written."""
        return self._writable is not None or stream in self._pumps

    def send_soon(self, send: Callable[[], None]) -> None:
        """Call `send` when this turn of the loop ends; what all of them send leaves together."""
        self._due.append(send)
        if len(self._due) == 1:
            asyncio.get_running_loop().call_soon(self._send_due)

    def _send_due(self) -> None:
        due, self._due = self._due, []
        self._gathers = True
        try:
            for send in due:
                try:
                    send()
                except Exception as error:  # of one stream: the others' messages leave all the same
                    asyncio.get_running_loop().call_exception_handler(
                        {"message": "a stream's messages were not sent", "exception": error}
                    )
        finally:
            self._gathers = False
            self._flush()

    def wants(self, stream: int) -> bool:
        """Whether a long message of this stream is still worth sending."""
        return True


def scatters(transport: asyncio.BaseTransport) -> bool:
    """Return whether a transport writes several buffers without joining them."""
    return type(transport).__module__.startswith("uvloop")


def _widen(transport: asyncio.Transport) -> None:
    """Let the kernel hold more of what we send: long messages wake the peer less often."""
    peer = transport.get_extra_info("socket")
    if peer is not None and peer.family == socket.AF_UNIX:
        # A duplicate, since uvloop hands out an object that sets no options.
        with socket.socket(fileno=os.dup(peer.fileno())) as duplicate:
            duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BYTES)


def _chunks(message: Message) -> list[list[Buffer]]:
    """Cut a message into lists of pieces of at most `CHUNK_BYTES` together."""
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
