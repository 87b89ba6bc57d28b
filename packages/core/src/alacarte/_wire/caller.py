"""The calling end of a connection: open streams, and read what comes back.

One connection carries all calls of this process to one replica. It lives on the event loop it was
made on, and so do its streams.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ConfigError
from ..types import Address, Buffer, Call, Reply
from .advertisement import read_advertisement
from .authentication import (
    HANDSHAKE_TIMEOUT_S,
    MAX_HANDSHAKE_BYTES,
    AuthenticationError,
    CallerHandshake,
)
from .connection import Connection, Load
from .envelope import pack_envelope
from .failures import decode_error
from .flow import Inbox, SendWindow, read_credit, write_credit
from .frames import BEYOND_LIMIT, CHUNK_BYTES, FINAL, STREAMING, Decoder, Frame, FrameError, Kind

__all__ = ["CallStream", "CallerConnection", "ConnectionLost", "Rejected", "connect"]

log = logging.getLogger("alacarte.wire")

_RESPONSE = int(Kind.RESPONSE)
_DATA = int(Kind.DATA)
_END = int(Kind.END)
_ERROR = int(Kind.ERROR)
_REJECT = int(Kind.REJECT)
_CREDIT = int(Kind.CREDIT)


class Rejected(Exception):
    """The replica did not take the request: it has not started and may go elsewhere."""


class ConnectionLost(Exception):
    """The connection broke after the request was sent: it may have started."""


class CallStream:
    """One call on a connection.

    Attributes:
        reply: Resolves to the `Reply`, or raises the error that came instead. A reply that
            streams is read from `Reply.rest`.
        done: Called once when the stream has ended, whatever its end.
        refused: The replica did not take the call.
        replica_id: Where it was sent, for errors.
    """

    __slots__ = (
        "_connection", "_inbox", "_uploads", "_window", "done", "id", "refused", "replica_id",
        "reply",
    )  # fmt: skip

    def __init__(
        self, connection: CallerConnection, stream_id: int, done: Callable[[CallStream], None]
    ) -> None:
        self.id = stream_id
        self.done: Callable[[CallStream], None] | None = done
        self.refused = False
        self.replica_id = ""
        self.reply: asyncio.Future[Reply] = connection.loop.create_future()
        self._connection = connection
        self._inbox: Inbox | None = None
        self._window: SendWindow | None = None
        self._uploads: asyncio.Task[None] | None = None

    def upload(self, call: Call) -> None:
        """Send the call's body as it is produced, once the replica has taken the call.

        The first credit says so: a body that was partly read could not be sent elsewhere.
        """
        self._window = SendWindow(0)
        self._uploads = self._connection.loop.create_task(self._upload(call, self._window))
        self._uploads.add_done_callback(self._uploaded)

    def cancel(self) -> None:
        """Give the call up and tell the replica. Nothing happens when it has ended."""
        if self.done is not None:
            self._connection.send(Kind.CANCEL, FINAL, self.id)
            self._close()
            if not self.reply.done():
                self.reply.cancel()

    @property
    def repeatable(self) -> bool:
        """Whether the same call can be sent again: no part of its body has been used up."""
        return self._window is None or not self._window.granted

    def abandon(self, error: BaseException) -> None:
        """Give the call up for this error, tell the replica, and leave a reply that has begun."""
        if self.done is not None and not self.reply.done():
            self._connection.send(Kind.CANCEL, FINAL, self.id)
            self.fail(error)

    @property
    def _answered(self) -> bool:
        reply = self.reply
        return reply.done() and not reply.cancelled() and reply.exception() is None

    def received(self, frame: Frame) -> None:
        kind = frame.kind
        if kind == _RESPONSE:
            self._replied(frame)
        elif kind == _DATA:
            if self._inbox is None:
                raise FrameError("a message before the response")
            self._inbox.put(frame.payload)
            if frame.flags & FINAL:
                self._close()
                self._inbox.end()
        elif kind == _END:
            self._close()
            if self._inbox is not None:
                self._inbox.end()
        elif kind == _CREDIT:
            if self._window is not None:
                self._window.grant(read_credit(frame.payload))
        elif kind == _REJECT:
            self.refused = True
            self.fail(Rejected())
        elif kind == _ERROR:
            self.fail(decode_error(frame.payload, unpickle=self._connection.unpickle))
        else:
            raise FrameError(f"a frame of kind {kind} on a stream")

    def fail(self, error: BaseException) -> None:
        """End the stream with an error: in place of the reply, or after what has arrived."""
        self._close()
        if self._inbox is not None:
            self._inbox.fail(error)
        elif not self.reply.done():
            self.reply.set_exception(error)
            self.reply.exception()  # seen: a caller that is gone is no reason to complain

    def _replied(self, frame: Frame) -> None:
        if self._inbox is not None or self.reply.done():
            if self.reply.cancelled():
                return
            raise FrameError("a second response")
        if frame.flags & FINAL:
            self._close()
            self.reply.set_result(Reply((frame.payload,)))
            return
        self._inbox = Inbox(self._grant, self.cancel)
        self.reply.set_result(Reply((frame.payload,), self._inbox))

    def _grant(self, size: int) -> None:
        self._connection.send(Kind.CREDIT, 0, self.id, write_credit(size))

    async def _upload(self, call: Call, window: SendWindow) -> None:
        assert call.body is not None
        try:
            await self._connection.send_all(self.id, call.body, window)
        except BaseException:
            close = getattr(call.body, "aclose", None)
            # What is whole, and not answered either, may go to another replica.
            if close is not None and (window.granted or self._answered):
                await close()
            raise
        self._connection.send(Kind.END, FINAL, self.id)

    def _uploaded(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None and self.done:
            # The source of the body failed (the client left, say): so has the call.
            self._connection.send(Kind.CANCEL, FINAL, self.id)
            self.fail(error)

    def _close(self) -> None:
        if self._uploads is not None and not self._uploads.done():
            self._uploads.cancel()
        self._connection.forget(self.id)
        done, self.done = self.done, None
        if done is not None:
            done(self)


class CallerConnection(Connection):
    """A caller's connection to one replica.

    Attributes:
        loop: The event loop it lives on.
        replica_load: Requests the replica was working on when it last said anything.
        facts: What the replica told about itself at the start.
        advertised: What the replica last said that it holds, by topic.
        unpickle: Loads pickled exceptions; None in a process that unpickles nothing.
        on_advertised: Called when that has changed.
        on_load: Called when the replica announces free slots.
        on_goaway: Called when the replica takes no new work.
        on_pong: Called when it has answered a PING.
        on_lost: Called once when an established connection is gone.
    """

    def __init__(self, handshake: CallerHandshake, *, max_message: int, unpickle: bool) -> None:
        super().__init__(Decoder(max_frame=MAX_HANDSHAKE_BYTES), Load())
        self.loop = asyncio.get_running_loop()
        self.replica_load = 0
        self.facts: dict[str, Any] = {}
        self.advertised: Mapping[str, frozenset[str]] = {}
        self.unpickle: Callable[[Buffer], Any] | None = pickle.loads if unpickle else None
        self.on_advertised: Callable[[], None] = _nothing
        self.on_load: Callable[[], None] = _nothing
        self.on_goaway: Callable[[], None] = _nothing
        self.on_pong: Callable[[], None] = _nothing
        self.on_lost: Callable[[], None] = _nothing
        self.established: asyncio.Future[None] = self.loop.create_future()
        self._handshake: CallerHandshake | None = handshake
        self._max_message = max_message
        self._streams: dict[int, CallStream] = {}
        self._next_stream = 1

    # --- calls --------------------------------------------------------------------------

    def open(self, call: Call, done: Callable[[CallStream], None]) -> CallStream:
        """Send a call. The reply is awaited on the stream that is returned.

        Raises:
            ConnectionLost: The connection is gone; nothing was sent.
            ConfigError: A text of the call cannot be sent.
        """
        if self.transport is None or self.transport.is_closing():
            raise ConnectionLost("not connected")
        envelope = pack_envelope(call)
        stream_id = self._next_stream
        self._next_stream = stream_id % 0xFFFFFFFF + 1
        stream = CallStream(self, stream_id, done)
        self._streams[stream_id] = stream
        flags = (STREAMING if call.streaming else 0) | (FINAL if call.body is None else 0)
        if call.beyond_limit:
            flags |= BEYOND_LIMIT
        try:
            self.send_message(Kind.REQUEST, flags, stream_id, (envelope, *call.payload))
        except ConfigError:
            del self._streams[stream_id]
            raise
        if call.body is not None:
            stream.upload(call)
        return stream

    def ping(self) -> None:
        """Ask whether the replica's event loop turns; `on_pong` tells."""
        self.send(Kind.PING, 0, 0)

    def forget(self, stream_id: int) -> None:
        self._streams.pop(stream_id, None)
        self._decoder.forget(stream_id)

    @property
    def crowded(self) -> bool:
        return len(self._streams) > 1

    def wants(self, stream: int) -> bool:
        return stream in self._streams

    # --- frames -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self._handshake is not None
        self.send(Kind.HELLO, 0, 0, self._handshake.hello())

    def frame_received(self, frame: Frame) -> None:
        if self._handshake is not None:
            self._shake(frame, self._handshake)
            return
        self.replica_load = frame.load
        stream = self._streams.get(frame.stream)
        if stream is not None:
            stream.received(frame)
        elif frame.stream == 0:
            self._announced(frame)
        # Anything else belongs to a stream that was cancelled here meanwhile.

    def _announced(self, frame: Frame) -> None:
        if frame.kind == Kind.LOAD:
            self.on_load()
        elif frame.kind == Kind.GOAWAY:
            self.on_goaway()
        elif frame.kind == Kind.ADVERTISE:
            self.advertised = read_advertisement(frame.payload)
            self.on_advertised()
        elif frame.kind == Kind.PING:
            self.send(Kind.PONG, 0, 0)
        elif frame.kind == Kind.PONG:
            self.on_pong()
        else:
            raise FrameError(f"a frame of kind {frame.kind} outside of a stream")

    def _shake(self, frame: Frame, handshake: CallerHandshake) -> None:
        try:
            if frame.kind == Kind.CHALLENGE:
                self.send(Kind.PROOF, 0, 0, handshake.prove(frame.payload))
            elif frame.kind == Kind.WELCOME:
                self.facts = handshake.welcomed(frame.payload)
                self._handshake = None
                self._decoder.max_frame = CHUNK_BYTES
                self._decoder.max_message = self._max_message
                if not self.established.done():
                    self.established.set_result(None)
            else:
                raise AuthenticationError(f"a frame of kind {frame.kind} before the welcome")
        except AuthenticationError as error:
            if not self.established.done():
                self.established.set_exception(error)
            raise FrameError(str(error)) from None

    def lost(self, error: Exception | None) -> None:
        reason = ConnectionLost(str(error or "the connection was closed"))
        if not self.established.done():
            self.established.set_exception(reason)
            self.established.exception()
        for stream in list(self._streams.values()):
            stream.fail(reason)
        self.on_lost()


async def connect(
    address: Address,
    replica_id: str,
    secret: bytes,
    *,
    host_id: str,
    max_message: int,
    unpickle: bool = True,
) -> CallerConnection:
    """Connect to a replica and prove to each other who you are.

    Args:
        host_id: This host; on the replica's own host its Unix socket is used.

    Raises:
        OSError: Nobody listens there.
        AuthenticationError: The replica is not the one meant, or of another instance.
        ConnectionLost: It hung up, or did not answer within two seconds.
    """
    loop = asyncio.get_running_loop()

    def make() -> CallerConnection:
        handshake = CallerHandshake(secret, replica_id)
        return CallerConnection(handshake, max_message=max_message, unpickle=unpickle)

    try:
        async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
            if address.unix_path and address.host_id == host_id:
                _, connection = await loop.create_unix_connection(make, address.unix_path)
            elif address.tcp is not None:
                _, connection = await loop.create_connection(make, *address.tcp)
            else:
                raise OSError(f"replica {replica_id} is on another host and has no TCP address")
            try:
                await connection.established
            except BaseException:
                connection.abort()
                raise
    except TimeoutError:
        raise ConnectionLost(f"no welcome within {HANDSHAKE_TIMEOUT_S:g} s") from None
    return connection


def _nothing() -> None:
    pass
