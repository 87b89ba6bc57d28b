"""The serving end of a connection, and the listener that accepts it.

What a peer may send or hold open before it has proved that it knows the secret is bounded: 4 KiB,
two seconds, and 64 such peers at a time. Nothing of it is unpickled.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from struct import Struct
from typing import Any, Protocol

from ..errors import ConfigError
from ..types import Call, Message, NestedCalls, Reply
from .authentication import (
    HANDSHAKE_TIMEOUT_S,
    MAX_HANDSHAKE_BYTES,
    AuthenticationError,
    ReplicaHandshake,
    welcome,
)
from .connection import Connection, Load
from .envelope import unpack_envelope
from .failures import encode_error
from .flow import WINDOW_BYTES, Inbox, SendWindow, read_credit, write_credit
from .frames import CHUNK_BYTES, FINAL, Decoder, Frame, FrameError, Kind
from .refusals import RefusalLog

__all__ = ["Acceptor", "Listener", "ReplicaConnection", "ServedStream"]

log = logging.getLogger("alacarte.wire")
MAX_PENDING = 64
_PEER_CREDENTIALS = Struct("3i")

_REQUEST = int(Kind.REQUEST)
_DATA = int(Kind.DATA)
_END = int(Kind.END)
_CREDIT = int(Kind.CREDIT)
_CANCEL = int(Kind.CANCEL)


class Acceptor(Protocol):
    """What a replica does with the calls that arrive."""

    def accept(self, stream: ServedStream, call: Call) -> asyncio.Task[Any] | None:
        """Start the call and return its task, or None to refuse it unstarted."""

    def hung_up(self, connection: ReplicaConnection) -> None:
        """A caller's connection is gone; its calls have been cancelled."""


class ServedStream:
    """One call in a replica: where its reply goes.

    Attributes:
        released: The slot it took is free again.
        nested: What the call has called itself, once it runs.
    """

    __slots__ = ("_inbox", "_window", "connection", "id", "nested", "released", "task")

    def __init__(self, connection: ReplicaConnection, stream_id: int) -> None:
        self.connection = connection
        self.id = stream_id
        self.released = False
        self.nested: NestedCalls | None = None
        self.task: asyncio.Task[Any] | None = None
        self._inbox: Inbox | None = None
        self._window: SendWindow | None = None

    def body(self) -> AsyncIterator[Message]:
        """Return the messages that follow the call's first."""
        self._inbox = Inbox(self._grant, _nothing)
        return self._inbox

    def accepted(self, task: asyncio.Task[Any]) -> None:
        """The call has started: a body that follows may come."""
        self.task = task
        if self._inbox is not None:
            self._grant(WINDOW_BYTES)

    def reply(self, reply: Reply) -> None:
        """Send a reply that is complete."""
        if self.connection.finish(self):
            try:
                self.connection.send_message(Kind.RESPONSE, FINAL, self.id, reply.payload)
            except ConfigError as error:
                self.connection.send_message(Kind.ERROR, FINAL, self.id, (encode_error(error),))

    async def reply_streaming(self, reply: Reply) -> None:
        """Send a reply and everything that follows, as fast as the caller reads."""
        assert reply.rest is not None
        self._window = SendWindow()
        self.connection.send_message(Kind.RESPONSE, 0, self.id, reply.payload)
        await self.connection.send_all(self.id, reply.rest, self._window)

    def end(self) -> None:
        """Say that the streaming reply is complete."""
        if self.connection.finish(self):
            self.connection.send(Kind.END, FINAL, self.id)

    def fail(self, error: BaseException) -> None:
        """Send an error in place of what has not been sent."""
        if self.connection.finish(self):
            try:
                self.connection.send_message(Kind.ERROR, FINAL, self.id, (encode_error(error),))
            except ConfigError:
                # The exception holds more than a message may: only its account is sent.
                account = encode_error(error, brief=True)
                self.connection.send_message(Kind.ERROR, FINAL, self.id, (account,))

    def received(self, frame: Frame) -> None:
        kind = frame.kind
        if kind == _DATA or kind == _END:
            if self._inbox is None:
                raise FrameError("a message after the request was complete")
            if kind == _DATA:
                self._inbox.put(frame.payload)
            if frame.flags & FINAL:
                self._inbox.end()
        elif kind == _CREDIT:
            if self._window is not None:
                self._window.grant(read_credit(frame.payload))
        elif kind == _CANCEL:
            self.cancel()
        else:
            raise FrameError(f"a frame of kind {kind} on a stream")

    def cancel(self) -> None:
        """The caller is gone: so is the reason to go on."""
        self.connection.finish(self)
        if self._inbox is not None:
            self._inbox.fail(asyncio.CancelledError())
        if self.task is not None:
            self.task.cancel()
        if self.nested is not None:
            # At once: the handler may take its time to end, or run in a thread and not hear of it.
            self.nested.cancel()

    def _grant(self, size: int) -> None:
        self.connection.send(Kind.CREDIT, 0, self.id, write_credit(size))


class ReplicaConnection(Connection):
    """A replica's connection to one caller."""

    def __init__(self, listener: Listener) -> None:
        super().__init__(Decoder(max_frame=MAX_HANDSHAKE_BYTES), listener.load)
        self._listener = listener
        self._acceptor = listener.acceptor
        self._handshake: ReplicaHandshake | None = listener.handshake()
        self._deadline: asyncio.TimerHandle | None = None
        self._streams: dict[int, ServedStream] = {}
        self._advertisement_due = False

    @property
    def trusted(self) -> bool:
        return self._handshake is None

    def finish(self, stream: ServedStream) -> bool:
        """Forget a stream; return whether its caller still waits."""
        self._decoder.forget(stream.id)
        return self._streams.pop(stream.id, None) is not None

    @property
    def crowded(self) -> bool:
        return len(self._streams) > 0

    def wants(self, stream: int) -> bool:
        # A reply that is complete leaves the table before its bytes have left the process.
        return self.transport is not None

    # --- frames -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        refusal = self._listener.admit(self)
        if refusal:
            self.refuse(refusal)
            return
        self._deadline = asyncio.get_running_loop().call_later(
            HANDSHAKE_TIMEOUT_S, self.refuse, "it did not authenticate in time"
        )

    def refuse(self, reason: str) -> None:
        if self._handshake is None or not self.connected:
            super().refuse(reason)
            return
        self._listener.refusals.note(self.peer, reason)
        self.abort()

    def frame_received(self, frame: Frame) -> None:
        if self._handshake is not None:
            self._shake(frame, self._handshake)
            return
        stream_id = frame.stream
        if frame.kind == _REQUEST:
            self._requested(frame)
        elif stream_id:
            stream = self._streams.get(stream_id)
            if stream is not None:
                stream.received(frame)
            if frame.kind == _CANCEL:
                self._stop_pump(stream_id)
        elif frame.kind == Kind.PING:
            self.send(Kind.PONG, 0, 0)
        elif frame.kind != Kind.PONG:
            raise FrameError(f"a frame of kind {frame.kind} outside of a stream")

    def _requested(self, frame: Frame) -> None:
        stream_id = frame.stream
        if not stream_id or stream_id in self._streams:
            raise FrameError(f"a request on stream {stream_id}, which is in use")
        call = unpack_envelope(frame.payload, frame.flags)
        stream = ServedStream(self, stream_id)
        if not frame.flags & FINAL:
            call.body = stream.body()
        self._streams[stream_id] = stream
        task = self._acceptor.accept(stream, call)
        if task is None:
            del self._streams[stream_id]
            self.send(Kind.REJECT, FINAL, stream_id)
        else:
            stream.accepted(task)

    def _shake(self, frame: Frame, handshake: ReplicaHandshake) -> None:
        try:
            if frame.kind == Kind.HELLO:
                self.send(Kind.CHALLENGE, 0, 0, handshake.challenge(frame.payload))
            elif frame.kind == Kind.PROOF:
                handshake.accept(frame.payload)
                self._trust()
            else:
                raise AuthenticationError(f"a frame of kind {frame.kind} before authentication")
        except AuthenticationError as error:
            raise FrameError(str(error)) from None

    def _trust(self) -> None:
        self._handshake = None
        assert self._deadline is not None
        self._deadline.cancel()
        self._decoder.max_frame = CHUNK_BYTES
        self._decoder.max_message = self._listener.max_message
        self._listener.trusted(self)
        self.send(Kind.WELCOME, 0, 0, welcome(self._listener.facts()))
        if self._listener.advertisement:
            self.advertise()

    def advertise(self) -> None:
        """Tell this caller what the replica holds: now, or once it reads again.

        Each says all there is, so of many that a caller does not read only the last is kept.
        """
        self._advertisement_due = self._writable is not None
        if not self._advertisement_due:
            self.send(Kind.ADVERTISE, 0, 0, self._listener.advertisement)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._advertisement_due and self.transport is not None:
            self.advertise()

    def lost(self, error: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._listener.forget(self)
        for stream in list(self._streams.values()):
            stream.cancel()
        self._acceptor.hung_up(self)


class Listener:
    """A replica's sockets: one Unix socket, and a TCP port where other hosts must reach it.

    Args:
        acceptor: Takes the calls.
        replica_id: Whom callers must be looking for.
        secret: The instance's secret.
        max_message: The longest request accepted, in bytes.
        facts: What a caller is told once trusted.
    """

    def __init__(
        self,
        acceptor: Acceptor,
        replica_id: str,
        secret: bytes,
        *,
        max_message: int,
        facts: Callable[[], dict[str, Any]],
    ) -> None:
        self.acceptor = acceptor
        self.max_message = max_message
        self.facts = facts
        self.load = Load()
        self.advertisement = b""
        self.connections: set[ReplicaConnection] = set()
        self.refusals = RefusalLog()
        self._replica_id = replica_id
        self._secret = secret
        self._pending: set[ReplicaConnection] = set()
        self._servers: list[asyncio.Server] = []
        self._unix_path = ""
        self._gone: asyncio.Future[None] | None = None

    async def listen_unix(self, path: str) -> None:
        """Listen at `path`, in a directory that only this user may enter."""
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(lambda: ReplicaConnection(self), path)
        os.chmod(path, 0o600)
        self._unix_path = path
        self._servers.append(server)

    async def listen_tcp(self, host: str) -> tuple[str, int]:
        """Listen on a free port of that address; return `(host, port)`."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: ReplicaConnection(self), host, 0)
        self._servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return host, port

    def announce(self, kind: Kind) -> None:
        """Send a frame without payload to every caller."""
        for connection in self.connections:
            connection.send(kind, 0, 0)

    def advertise(self, advertisement: bytes) -> None:
        """Send this ADVERTISE to every caller, and to each that connects later."""
        self.advertisement = advertisement
        for connection in self.connections:
            connection.advertise()

    def close(self) -> None:
        """Stop listening, and hang up when what is to be sent has been sent."""
        self._stop_listening()
        for connection in self.connections | self._pending:
            connection.close()

    def abort(self) -> None:
        """Stop listening, and hang up at once."""
        self._stop_listening()
        for connection in self.connections | self._pending:
            connection.abort()

    async def wait_closed(self) -> None:
        """After `close`: return when every connection is gone."""
        while self.connections or self._pending:
            self._gone = asyncio.get_running_loop().create_future()
            await self._gone

    def _stop_listening(self) -> None:
        for server in self._servers:
            server.close()
        if self._unix_path and os.path.exists(self._unix_path):
            os.unlink(self._unix_path)

    # --- what connections ask -----------------------------------------------------------

    def handshake(self) -> ReplicaHandshake:
        return ReplicaHandshake(self._secret, self._replica_id)

    def admit(self, connection: ReplicaConnection) -> str:
        """Take in a new connection; return why not, or ""."""
        if len(self._pending) >= MAX_PENDING:
            return f"{MAX_PENDING} others are authenticating"
        if not _same_user(connection):
            return "the peer belongs to another user"
        self._pending.add(connection)
        return ""

    def trusted(self, connection: ReplicaConnection) -> None:
        self._pending.discard(connection)
        self.connections.add(connection)

    def forget(self, connection: ReplicaConnection) -> None:
        self._pending.discard(connection)
        self.connections.discard(connection)
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)


def _same_user(connection: ReplicaConnection) -> bool:
    """Whether a peer on a Unix socket runs as our user. Other sockets pass: they authenticate."""
    assert connection.transport is not None
    peer = connection.transport.get_extra_info("socket")
    if peer is None or peer.family != socket.AF_UNIX or not hasattr(socket, "SO_PEERCRED"):
        return True
    # A duplicate, since uvloop hands out an object that has no getsockopt of its own.
    with socket.socket(fileno=os.dup(peer.fileno())) as duplicate:
        raw = duplicate.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER_CREDENTIALS.size)
    return bool(_PEER_CREDENTIALS.unpack(raw)[1] == os.getuid())


def _nothing() -> None:
    pass
