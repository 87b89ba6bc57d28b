"""A client's WebSocket at the proxy: frames on its socket, messages to and from it.

The edge hands an upgraded connection to this protocol. websockets' sans-I/O `Protocol` reads the
frames and keeps the rules of RFC 6455; here are the socket, time and flow control.

Nothing grows without bound: reading stops while as many bytes as `_INBOX_BYTES` wait to be taken,
and while a client that sends pings does not read their answers; writing waits for the socket.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from struct import Struct
from typing import Any

from alacarte.types import Buffer, Message

from .._edge.edge import Member, Successor
from .._edge.head import Head, Peer
from .._edge.responses import STATUS_LINE
from .._errors import TEXT as PLAIN
from .._errors import Answer
from .._websocket_frames import Frame, Frames, Opcode, State
from .handshake import refusal_of, write_accept
from .websocket_codec import BINARY, KIND, TEXT, Accept, pack_close

__all__ = ["WebSocketConnection"]

log = logging.getLogger("alacarte.http")

PING_S = 20.0
"""A client that is silent for so long is asked; one that is silent for as long again is gone."""
CLOSE_S = 10.0
"""Time for a client to answer a close, and to read what is left for it."""
LINGER_S = 2.0
"""How long what a client goes on sending is read, once it has its last answer."""
GRACE_S = 10.0
"""Time for the application to return once its client is gone."""

_INBOX_BYTES = 256 * 1024
_OVERHEAD_BYTES = 64
_EARLY_BYTES = 64 * 1024
_JOIN_BYTES = 64 * 1024

_ABNORMAL, _INVALID, _FAILED, _RESTART = 1006, 1007, 1011, 1012
_OPCODE = {TEXT: 0x81, BINARY: 0x82}
_SHORT = Struct("!BB")
_MEDIUM = Struct("!BBH")
_LONG = Struct("!BBQ")


class Inbox:
    """Messages of the client that wait to be sent on: a call's body, read by one reader."""

    def __init__(self, has_room: Callable[[], None]) -> None:
        self.size = 0
        self._messages: deque[tuple[Message, int]] = deque()
        self._has_room = has_room
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None

    def put(self, message: Message, size: int) -> None:
        self._messages.append((message, size))
        self.size += size
        self._wake()

    def end(self, last: Message) -> None:
        """Put the last message; a second end changes nothing."""
        if not self._ended:
            self._ended = True
            self.put(last, 0)

    @property
    def ended(self) -> bool:
        return self._ended

    def __aiter__(self) -> Inbox:
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
        self._has_room()
        return message

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class WebSocketConnection(Successor):
    """One client's connection, from its handshake on.

    Args:
        application: Serves the connection, from the handshake to the end.
        connections: All that the proxy has open; this one puts itself among them.
        tasks: Of the proxy.
        max_message_bytes: See `HTTPOptions.max_websocket_message_bytes`.

    Attributes:
        head: Of the request that asked for the WebSocket.
        peer: The two ends.
        messages: What the client sends, ended by a CLOSE; the body of the call.
        lost: The client is gone, or has closed.
        answered: Its handshake is.
        dismissed: The application has closed; it may take its time to return.
    """

    head: Head
    peer: Peer
    transport: asyncio.Transport

    def __init__(
        self,
        application: Callable[[WebSocketConnection], Coroutine[Any, Any, None]],
        connections: set[Member],
        tasks: set[asyncio.Task[None]],
        max_message_bytes: int,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.messages = Inbox(self._has_room)
        self.lost = False
        self.answered = False
        self.dismissed = False
        self._application = application
        self._connections = connections
        self._tasks = tasks
        self._max_message_bytes = max_message_bytes
        self._task: asyncio.Task[None] | None = None
        self._frames: Frames | None = None
        self._ending = False
        self._early = bytearray()
        self._opcode = 0
        self._fragments: bytearray | None = None
        self._writable: asyncio.Future[None] | None = None
        self._reading = True
        self._flooded = False
        self._heard = True
        self._asked = False
        self._timer: asyncio.TimerHandle | None = None
        self._grace: asyncio.TimerHandle | None = None

    # --- the socket ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport = transport  # type: ignore[assignment]
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._heard = True
        if self._ending:
            return
        if self._frames is not None:
            self._receive(self._frames, data)
        elif len(self._early) + len(data) > _EARLY_BYTES:
            self.transport.abort()
        else:
            # It did not wait for the handshake's answer.
            self._early += data

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        self.resume_writing()
        self._leave(_ABNORMAL, "")

    def pause_writing(self) -> None:
        if self._writable is None:
            self._writable = self.loop.create_future()

    def resume_writing(self) -> None:
        if self._writable is not None:
            if not self._writable.done():
                self._writable.set_result(None)
            self._writable = None
        self._flooded = False
        self._has_room()

    def wind_down(self, linger_s: float = 0.0) -> None:
        """The proxy is leaving: close at once, and let the client connect elsewhere."""
        if self._frames is None:
            self.deny(Answer(503, "This proxy is being drained.", ((b"retry-after", b"1"),)), "")
        else:
            self.close(_RESTART, "service restart")
            self._leave(_RESTART, "service restart")

    # --- the handshake ------------------------------------------------------------------

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
        """Drop the connection and what was not sent."""
        self.transport.abort()

    async def _run(self) -> None:
        try:
            await self._application(self)
        except asyncio.CancelledError:
            if not self.lost:
                raise
            # The client is gone, and so is the reason to go on; nobody waits for us.
        except (Exception, SystemExit) as error:  # of the application: the client gets an end
            log.error("a WebSocket failed", exc_info=error)
            self.close(_FAILED, "internal error")
        finally:
            if self._grace is not None:
                self._grace.cancel()
            if self._frames is None and not self.answered:
                self.transport.abort()

    def accept(self, accept: Accept, request_id: str) -> None:
        """Open the WebSocket."""
        if self.lost or self.answered:
            return
        self.answered = True
        self.transport.write(write_accept(self.head, accept, request_id))
        self._frames = Frames(self._max_message_bytes)
        self._timer = self.loop.call_later(PING_S, self._tick)
        if self._early:
            early, self._early = bytes(self._early), bytearray()
            self._receive(self._frames, early)

    def deny(self, answer: Answer, request_id: str) -> None:
        """Answer the handshake with a short response, and close."""
        if self.answered:
            return
        body = answer.text.encode()
        length = (b"content-length", b"%d" % len(body))
        lines = [b"%b: %b\r\n" % header for header in (length, PLAIN, *answer.headers)]
        self.start_denial(answer.status, b"".join(lines), request_id)
        if self.head.method != "HEAD":
            self.transport.write(body)
        self.hang_up()

    def start_denial(self, status: int, lines: bytes, request_id: str) -> None:
        """Answer the handshake with a response; `write` and `hang_up` follow.

        Args:
            lines: Its headers, each ended.
        """
        if self.answered:
            return
        self.answered = True
        if request_id:
            lines += b"x-request-id: %b\r\n" % request_id.encode()
        self.transport.write(STATUS_LINE[status] + lines + b"connection: close\r\n\r\n")

    # --- from the client ----------------------------------------------------------------

    def _receive(self, frames: Frames, data: bytes) -> None:
        frames.receive_data(data)
        for frame in frames.events_received():
            if isinstance(frame, Frame) and not self._take(frames, frame):
                break
        self._flush(frames)
        close = frames.complaint or frames.received_close
        if close is not None:
            self._leave(close.code, close.reason)

    def _take(self, frames: Frames, frame: Frame) -> bool:
        """Take a frame; return whether those after it still count."""
        opcode = frame.opcode
        if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
            if frame.fin:
                return self._message(frames, opcode, frame.data)
            self._opcode = opcode
            self._fragments = bytearray(frame.data)
        elif opcode is Opcode.CONT and self._fragments is not None:
            self._fragments += frame.data
            if frame.fin:
                whole, self._fragments = self._fragments, None
                return self._message(frames, self._opcode, whole)
        return True

    def _message(self, frames: Frames, opcode: int, data: Buffer) -> bool:
        if self.messages.ended or frames.awaits_close:
            return True  # we have closed: nobody wants it
        kind = BINARY
        if opcode == Opcode.TEXT:
            kind = TEXT
            try:
                str(data, "utf-8")
            except UnicodeDecodeError:
                frames.fail(_INVALID, "a text that is not UTF-8")
                self._leave(_INVALID, "a text that is not UTF-8")
                return False
        self.messages.put((KIND[kind], data), len(data) + _OVERHEAD_BYTES)
        if self.messages.size > _INBOX_BYTES:
            self._pause()
        return True

    def _leave(self, code: int, reason: str) -> None:
        """Tell the application that the client is gone: at once before it has accepted."""
        if self.lost:
            return
        self.lost = True
        self.messages.end(pack_close(code, reason))
        task = self._task
        if task is None or task.done():
            return
        if self._frames is None:
            task.cancel()
        elif not self.dismissed:
            self._grace = self.loop.call_later(GRACE_S, task.cancel)

    def _pause(self) -> None:
        if self._reading and not self.transport.is_closing():
            self._reading = False
            self.transport.pause_reading()

    def _has_room(self) -> None:
        if (
            not self._reading
            and not self._flooded
            and self.messages.size <= _INBOX_BYTES // 2
            and not self.transport.is_closing()
        ):
            self._reading = True
            self.transport.resume_reading()

    # --- to the client ------------------------------------------------------------------

    async def send(self, kind: int, data: memoryview) -> None:
        """Send a TEXT or BINARY, when the socket has room; one for nobody is dropped."""
        while self._writable is not None:
            await self._writable
        frames = self._frames
        if frames is None or frames.state is not State.OPEN or not self._writes:
            return
        # No extension is agreed on and nothing is cut in fragments, so a frame is its header and
        # its data; websockets' own way costs several times as much.
        size = len(data)
        if size < 126:
            header = _SHORT.pack(_OPCODE[kind], size)
        elif size < 1 << 16:
            header = _MEDIUM.pack(_OPCODE[kind], 126, size)
        else:
            header = _LONG.pack(_OPCODE[kind], 127, size)
        if size <= _JOIN_BYTES:
            self.transport.write(b"".join((header, data)))
        else:
            self.transport.write(header)
            self.transport.write(data)

    async def write(self, data: bytes) -> None:
        """Send a part of a denial's body, when the socket has room."""
        while self._writable is not None:
            await self._writable
        if self._writes:
            self.transport.write(data)

    def close(self, code: int, reason: str) -> None:
        """Send a close, unless one was sent; the client has `CLOSE_S` to answer it."""
        frames = self._frames
        if frames is None or frames.state is not State.OPEN:
            return
        frames.send_close(code, reason)
        self._flush(frames)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(CLOSE_S, self.transport.abort)
        # It must be heard, whatever still waits to be taken: that is for nobody now.
        self._resume()

    def hang_up(self) -> None:
        """End the connection when what was written has been sent, or after `CLOSE_S`.

        A socket that is closed with unread bytes resets the connection, and a reset destroys what
        the client has not read yet. So where more may come, it is read for a while, and dropped.
        """
        if not self._writes:
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
        self._timer = self.loop.call_later(CLOSE_S, self.transport.abort)

    @property
    def _writes(self) -> bool:
        """Whether anything may still be written."""
        return not self._ending and not self.transport.is_closing()

    def _resume(self) -> None:
        if not self._reading and not self.transport.is_closing():
            self._reading = True
            self.transport.resume_reading()

    def _flush(self, frames: Frames) -> None:
        pieces = frames.data_to_send()
        if not pieces:
            return
        if self._writes:
            self.transport.write(b"".join(pieces))
        if pieces[-1] == b"":  # their sign for the end of the stream
            self.hang_up()
        elif self._writable is not None and frames.state is State.OPEN:
            # Its pings come faster than it reads their answers.
            self._flooded = True
            self._pause()

    def _tick(self) -> None:
        """Every `PING_S`: ask a silent client whether it is there."""
        frames = self._frames
        assert frames is not None
        if self._heard or not self._reading:
            # While reading is stopped nothing can be heard.
            self._heard = self._asked = False
        elif self._asked:
            frames.fail(_FAILED, "no answer to a ping")
            self._flush(frames)
            self._leave(_ABNORMAL, "no answer to a ping")
            return
        else:
            self._asked = True
            frames.send_ping(b"alacarte")
            self._flush(frames)
        self._timer = self.loop.call_later(PING_S, self._tick)
