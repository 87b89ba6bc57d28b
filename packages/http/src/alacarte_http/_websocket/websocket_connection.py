"""A client's WebSocket in the proxy: frames on the socket, and messages for the relay.

The edge hands an upgraded connection to this protocol. websockets' sans-I/O `Protocol` reads frames
and enforces RFC 6455; this module adds the socket, timeouts and flow control.

All buffers are bounded: reading pauses while more than `_MAX_RECEIVED_BYTES` wait for the relay, or
while a client that sends pings does not read the pongs; writing waits for the socket.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from struct import Struct

from alacarte.types import Buffer, Message

from .._edge.edge import OpenConnection, Successor
from .._edge.head import Head, Peer
from .._edge.response_starts import STATUS_LINE
from .._local_response import TEXT as PLAIN
from .._local_response import LocalResponse
from .._websocket_frames import Frame, FrameProtocol, Opcode, State
from .opening_handshake import refusal_of, write_accept
from .websocket_codec import BINARY, KIND, TEXT, Accept, pack_close

__all__ = ["WebSocketConnection"]

log = logging.getLogger("alacarte.http")

PING_INTERVAL_S = 20.0
"""Silence after which a client gets a ping; after as much again, it counts as disconnected."""
CLOSE_TIMEOUT_S = 10.0
"""Time for a client to answer a close and to read the remaining bytes."""
LINGER_S = 2.0
"""How long further bytes of a client are read and dropped after the last write."""
APPLICATION_GRACE_S = 10.0
"""Time for the application to return after its client has disconnected."""

_MAX_RECEIVED_BYTES = 256 * 1024
_MESSAGE_OVERHEAD_BYTES = 64
_MAX_EARLY_BYTES = 64 * 1024
_MAX_JOINED_BYTES = 64 * 1024

_ABNORMAL, _INVALID, _FAILED, _RESTART = 1006, 1007, 1011, 1012
_OPCODE = {TEXT: 0x81, BINARY: 0x82}
_SHORT = Struct("!BB")
_MEDIUM = Struct("!BBH")
_LONG = Struct("!BBQ")


class ReceivedMessages:
    """The queue of a client's messages, and the body of the WebSocket's call. For one reader.

    Args:
        on_taken: Called after each message that the reader takes.

    Attributes:
        size: Bytes in the queue.
    """

    def __init__(self, on_taken: Callable[[], None]) -> None:
        self.size = 0
        self._messages: deque[tuple[Message, int]] = deque()
        self._on_taken = on_taken
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None

    def put(self, message: Message, size: int) -> None:
        self._messages.append((message, size))
        self.size += size
        self._wake()

    def end(self, last: Message) -> None:
        """Put the last message; a second call does nothing."""
        if not self._ended:
            self._ended = True
            self.put(last, 0)

    @property
    def ended(self) -> bool:
        return self._ended

    def __aiter__(self) -> ReceivedMessages:
        return self

    async def __anext__(self) -> Message:
        while not self._messages:
            if self._ended:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        message, size = self._messages.popleft()
        self.size -= size
        self._on_taken()
        return message

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class WebSocketConnection(Successor):
    """A client's WebSocket, from its opening handshake on.

    Args:
        handler: Serves the connection, from the WebSocket handshake to the end.
        connections: Open connections of the proxy; this connection adds and removes itself.
        tasks: Tasks of the proxy; this connection adds and removes its own.
        max_message_bytes: See `HTTPOptions.max_websocket_message_bytes`.

    Attributes:
        head: Head of the WebSocket handshake.
        peer: Addresses of client and server.
        messages: The client's messages, ended by a CLOSE; the body of the call.
        disconnected: The client has disconnected or closed.
        answered: The WebSocket handshake has a response.
        closed_by_application: The application has closed; it may still run.
    """

    head: Head
    peer: Peer
    transport: asyncio.Transport

    def __init__(
        self,
        handler: Callable[[WebSocketConnection], Coroutine[object, None, None]],
        connections: set[OpenConnection],
        tasks: set[asyncio.Task[None]],
        max_message_bytes: int,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.messages = ReceivedMessages(self._resume_if_allowed)
        self.disconnected = False
        self.answered = False
        self.closed_by_application = False
        self._handler = handler
        self._connections = connections
        self._tasks = tasks
        self._max_message_bytes = max_message_bytes
        self._task: asyncio.Task[None] | None = None
        self._frames: FrameProtocol | None = None
        self._ending = False
        self._early = bytearray()
        self._opcode = 0
        self._fragments: bytearray | None = None
        self._writable: asyncio.Future[None] | None = None
        self._reading = True
        self._flooded = False
        self._has_received = True
        self._awaits_pong = False
        self._timer: asyncio.TimerHandle | None = None
        self._grace: asyncio.TimerHandle | None = None

    # --- the socket ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport = transport  # type: ignore[assignment]
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._has_received = True
        if self._ending:
            return
        if self._frames is not None:
            self._receive(self._frames, data)
        elif len(self._early) + len(data) > _MAX_EARLY_BYTES:
            self.transport.abort()
        else:
            # The client sends frames before the response to the WebSocket handshake.
            self._early += data

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        self.resume_writing()
        self._on_disconnect(_ABNORMAL, "")

    def pause_writing(self) -> None:
        if self._writable is None:
            self._writable = self.loop.create_future()

    def resume_writing(self) -> None:
        if self._writable is not None:
            if not self._writable.done():
                self._writable.set_result(None)
            self._writable = None
        self._flooded = False
        self._resume_if_allowed()

    def drain(self, linger_s: float = 0.0) -> None:
        """Close at once, so that the client connects to another proxy."""
        if self._frames is None:
            retry_after = ((b"retry-after", b"1"),)
            self.deny(LocalResponse(503, "This proxy is draining.", retry_after), "")
        else:
            self.close(_RESTART, "service restart")
            self._on_disconnect(_RESTART, "service restart")

    # --- the WebSocket handshake --------------------------------------------------------

    def open(self, head: Head, peer: Peer) -> None:
        self.head = head
        self.peer = peer
        refusal = refusal_of(head)
        if refusal is not None:
            self.deny(refusal, "")
            return
        self._task = self.loop.create_task(self._run())
        self._tasks.add(self._task)
        self._task.add_done_callback(self._tasks.discard)

    def abort(self) -> None:
        """Drop the connection and its unsent bytes."""
        self.transport.abort()

    async def _run(self) -> None:
        try:
            await self._handler(self)
        except asyncio.CancelledError:
            if not self.disconnected:
                raise
            # The client has disconnected: end the task normally, as no caller awaits it.
        except (Exception, SystemExit) as error:  # raised by the handler
            log.error("a WebSocket failed", exc_info=error)
            self.close(_FAILED, "internal error")
        finally:
            if self._grace is not None:
                self._grace.cancel()
            if self._frames is None and not self.answered:
                self.transport.abort()

    def accept(self, accept: Accept, request_id: str) -> None:
        """Open the WebSocket."""
        if self.disconnected or self.answered:
            return
        self.answered = True
        self.transport.write(write_accept(self.head, accept, request_id))
        self._frames = FrameProtocol(self._max_message_bytes)
        self._timer = self.loop.call_later(PING_INTERVAL_S, self._tick)
        if self._early:
            early, self._early = bytes(self._early), bytearray()
            self._receive(self._frames, early)

    def deny(self, response: LocalResponse, request_id: str) -> None:
        """Deny the WebSocket handshake with a response of the proxy itself, and close."""
        if self.answered:
            return
        body = response.text.encode()
        length = (b"content-length", b"%d" % len(body))
        lines = [b"%b: %b\r\n" % header for header in (length, PLAIN, *response.headers)]
        self.start_denial(response.status, b"".join(lines), request_id)
        if self.head.method != "HEAD":
            self.transport.write(body)
        self.finish()

    def start_denial(self, status: int, lines: bytes, request_id: str) -> None:
        """Deny the WebSocket handshake with the head of a response; `write` and `finish` follow.

        Args:
            lines: Header lines, each ended with CR LF.
        """
        if self.answered:
            return
        self.answered = True
        if request_id:
            lines += b"x-request-id: %b\r\n" % request_id.encode()
        self.transport.write(STATUS_LINE[status] + lines + b"connection: close\r\n\r\n")

    # --- from the client ----------------------------------------------------------------

    def _receive(self, frames: FrameProtocol, data: bytes) -> None:
        frames.receive_data(data)
        for frame in frames.events_received():
            if isinstance(frame, Frame) and not self._handle_frame(frames, frame):
                break
        self._flush(frames)
        close = frames.violation_close or frames.received_close
        if close is not None:
            self._on_disconnect(close.code, close.reason)

    def _handle_frame(self, frames: FrameProtocol, frame: Frame) -> bool:
        """Handle a frame; return whether to handle the frames after it."""
        opcode = frame.opcode
        if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
            if frame.fin:
                return self._handle_message(frames, opcode, frame.data)
            self._opcode = opcode
            self._fragments = bytearray(frame.data)
        elif opcode is Opcode.CONT and self._fragments is not None:
            self._fragments += frame.data
            if frame.fin:
                whole, self._fragments = self._fragments, None
                return self._handle_message(frames, self._opcode, whole)
        return True

    def _handle_message(self, frames: FrameProtocol, opcode: int, data: Buffer) -> bool:
        if self.messages.ended or frames.awaits_close:
            return True  # dropped: the proxy has sent a close
        kind = BINARY
        if opcode == Opcode.TEXT:
            kind = TEXT
            try:
                str(data, "utf-8")
            except UnicodeDecodeError:
                frames.fail(_INVALID, "a text that is not UTF-8")
                self._on_disconnect(_INVALID, "a text that is not UTF-8")
                return False
        self.messages.put((KIND[kind], data), len(data) + _MESSAGE_OVERHEAD_BYTES)
        if self.messages.size > _MAX_RECEIVED_BYTES:
            self._pause()
        return True

    def _on_disconnect(self, code: int, reason: str) -> None:
        """End the client's messages, and cancel the application: at once before it has accepted."""
        if self.disconnected:
            return
        self.disconnected = True
        self.messages.end(pack_close(code, reason))
        task = self._task
        if task is None or task.done():
            return
        if self._frames is None:
            task.cancel()
        elif not self.closed_by_application:
            self._grace = self.loop.call_later(APPLICATION_GRACE_S, task.cancel)

    def _pause(self) -> None:
        if self._reading and not self.transport.is_closing():
            self._reading = False
            self.transport.pause_reading()

    def _resume_if_allowed(self) -> None:
        if (
            not self._reading
            and not self._flooded
            and self.messages.size <= _MAX_RECEIVED_BYTES // 2
            and not self.transport.is_closing()
        ):
            self._reading = True
            self.transport.resume_reading()

    # --- to the client ------------------------------------------------------------------

    async def send(self, kind: int, data: memoryview) -> None:
        """Send a TEXT or BINARY message when the socket has room; drop it after a close."""
        while self._writable is not None:
            await self._writable
        frames = self._frames
        if frames is None or frames.state is not State.OPEN or not self._can_write:
            return
        # Without extensions and fragments, a frame is a header and the data. Encoding it with
        # websockets costs several times as much.
        size = len(data)
        if size < 126:
            header = _SHORT.pack(_OPCODE[kind], size)
        elif size < 1 << 16:
            header = _MEDIUM.pack(_OPCODE[kind], 126, size)
        else:
            header = _LONG.pack(_OPCODE[kind], 127, size)
        if size <= _MAX_JOINED_BYTES:
            self.transport.write(b"".join((header, data)))
        else:
            self.transport.write(header)
            self.transport.write(data)

    async def write(self, data: bytes) -> None:
        """Send a part of a denial's body when the socket has room."""
        while self._writable is not None:
            await self._writable
        if self._can_write:
            self.transport.write(data)

    def close(self, code: int, reason: str) -> None:
        """Send a close if none was sent, and give the client `CLOSE_TIMEOUT_S` to answer."""
        frames = self._frames
        if frames is None or frames.state is not State.OPEN:
            return
        frames.send_close(code, reason)
        self._flush(frames)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(CLOSE_TIMEOUT_S, self.transport.abort)
        # Read on to receive the client's close; no further message is queued.
        self._resume()

    def finish(self) -> None:
        """Close the connection after the written bytes are sent, or after `CLOSE_TIMEOUT_S`.

        Closing a socket with unread bytes resets the connection, and a reset discards bytes that
        the client has not read yet. So if the client may send more, read and drop it for
        `LINGER_S`.
        """
        if not self._can_write:
            return
        self._ending = True
        if self._timer is not None:
            self._timer.cancel()
        frames = self._frames
        if (frames is not None and frames.received_close) or not self.transport.can_write_eof():
            self._close_socket()
            return
        self.transport.write_eof()
        self._resume()
        self._timer = self.loop.call_later(LINGER_S, self._close_socket)

    def _close_socket(self) -> None:
        self.transport.close()
        self._timer = self.loop.call_later(CLOSE_TIMEOUT_S, self.transport.abort)

    @property
    def _can_write(self) -> bool:
        """Whether the connection still accepts writes."""
        return not self._ending and not self.transport.is_closing()

    def _resume(self) -> None:
        if not self._reading and not self.transport.is_closing():
            self._reading = True
            self.transport.resume_reading()

    def _flush(self, frames: FrameProtocol) -> None:
        pieces = frames.data_to_send()
        if not pieces:
            return
        if self._can_write:
            self.transport.write(b"".join(pieces))
        if pieces[-1] == b"":  # websockets' marker for the end of the stream
            self.finish()
        elif self._writable is not None and frames.state is State.OPEN:
            # The client sends pings faster than it reads the pongs.
            self._flooded = True
            self._pause()

    def _tick(self) -> None:
        """Send a ping to a silent client, or end a WebSocket whose ping has no pong.

        Runs every `PING_INTERVAL_S`.
        """
        frames = self._frames
        assert frames is not None
        if self._has_received or not self._reading:
            # While reading is paused, a client's bytes do not arrive.
            self._has_received = self._awaits_pong = False
        elif self._awaits_pong:
            frames.fail(_FAILED, "no answer to a ping")
            self._flush(frames)
            self._on_disconnect(_ABNORMAL, "no answer to a ping")
            return
        else:
            self._awaits_pong = True
            frames.send_ping(b"alacarte")
            self._flush(frames)
        self._timer = self.loop.call_later(PING_INTERVAL_S, self._tick)
