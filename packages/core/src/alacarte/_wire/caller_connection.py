"""The calling end of a connection: open streams, and read what comes back.

One connection carries all calls of this process to one replica. It lives on the event loop it was
made on, and so do its streams.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ConfigError
from ..types import Address, Buffer, Call
from .advertisement import read_advertisement
from .authentication import (
    HANDSHAKE_TIMEOUT_S,
    MAX_HANDSHAKE_BYTES,
    AuthenticationError,
    CallerHandshake,
)
from .caller_stream import (
    TRANSITIONS,
    CallConnection,
    CallerStream,
    CallerStreamState,
    ConnectionLost,
    Rejected,
)
from .connection import Load
from .envelope import pack_envelope
from .error_codec import ErrorDecoder
from .frames import BYPASS_LIMIT, CHUNK_BYTES, FINAL, STREAMING, Decoder, Frame, FrameError, Kind
from .shared_memory import RETRY_S, Mappings, process_of, read_reference, write_inode

__all__ = ["CallerStream", "CallerConnection", "ConnectionLost", "Rejected", "connect"]

_LAST_STREAM = 0xFFFFFFFF
_LATE = TRANSITIONS[CallerStreamState.OVER]


class CallerConnection(CallConnection):
    """A caller's connection to one replica.

    Attributes:
        loop: The event loop it lives on.
        replica_load: Requests the replica was working on when it last said anything.
        facts: What the replica told about itself at the start.
        advertised: What the replica last said that it holds, by topic.
        decode_error: Reads the errors that replicas send: `rebuild_error` where nothing may be
            unpickled, else `unpickle_error`.
        on_advertised: Called when that has changed.
        on_load: Called when the replica announces free slots.
        on_goaway: Called when the replica takes no new work.
        on_pong: Called when it has answered a PING.
        on_lost: Called once when an established connection is gone.
    """

    def __init__(
        self, handshake: CallerHandshake, *, max_message: int, decode_error: ErrorDecoder
    ) -> None:
        super().__init__(Decoder(max_frame=MAX_HANDSHAKE_BYTES), Load())
        self.loop = asyncio.get_running_loop()
        self.replica_load = 0
        self.facts: dict[str, Any] = {}
        self.advertised: Mapping[str, frozenset[str]] = {}
        self.decode_error = decode_error
        self.on_advertised: Callable[[], None] = _nothing
        self.on_load: Callable[[], None] = _nothing
        self.on_goaway: Callable[[], None] = _nothing
        self.on_pong: Callable[[], None] = _nothing
        self.on_lost: Callable[[], None] = _nothing
        self.established: asyncio.Future[None] = self.loop.create_future()
        self._handshake: CallerHandshake | None = handshake
        self._max_message = max_message
        self._streams: dict[int, CallerStream] = {}
        self._next_stream = 1
        self._mappings: Mappings | None = None
        self._offers_again: asyncio.TimerHandle | None = None

    # --- calls --------------------------------------------------------------------------

    def open(self, call: Call, done: Callable[[CallerStream], None]) -> CallerStream:
        """Send a call. The reply is awaited on the stream that is returned.

        Raises:
            ConnectionLost: The connection is gone; nothing was sent.
            ConfigError: A text of the call cannot be sent.
        """
        if self.transport is None or self.transport.is_closing():
            raise ConnectionLost("not connected")
        envelope = pack_envelope(call)
        stream_id = self._next_stream
        while stream_id in self._streams:  # open since four billion calls
            stream_id = stream_id % _LAST_STREAM + 1
        self._next_stream = stream_id % _LAST_STREAM + 1
        stream = CallerStream(self, stream_id, done)
        self._streams[stream_id] = stream
        flags = (STREAMING if call.streaming else 0) | (FINAL if call.body is None else 0)
        if call.bypass_limit:
            flags |= BYPASS_LIMIT
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

    # --- shared memory ------------------------------------------------------------------

    def read_shared(self, reference: Buffer) -> memoryview | None:
        mappings = self._may_share()
        try:
            return mappings.read(reference, self._max_message)
        except OSError:
            # The replica sends a copy, and shares no more until it is offered to.
            self.send(Kind.COPY, 0, 0, write_inode(read_reference(reference)[1]))
            self._offer_later()
            return None

    def skip_shared(self, reference: Buffer) -> None:
        self._may_share()
        self._release(read_reference(reference)[1])

    def _may_share(self) -> Mappings:
        if self._mappings is None or not self._mappings.proved:
            raise FrameError("shared memory where none can be mapped")
        return self._mappings

    def _release(self, inode: int) -> None:
        self.send(Kind.RELEASE, 0, 0, write_inode(inode))

    def _offer_later(self) -> None:
        if self._offers_again is None:
            self._offers_again = self.loop.call_later(RETRY_S, self._offer_to_map)

    def _offer_to_map(self) -> None:
        self._offers_again = None
        # Who has not answered the last offer, having much to do, is still going to.
        if self._mappings is not None and self.connected and not self._mappings.offered:
            self._mappings.offered = True
            self.send(Kind.MAPS, 0, 0)

    def _probed(self, frame: Frame) -> None:
        if self._mappings is None:
            raise FrameError("a probe where nothing can be mapped")
        read = self._mappings.probe(frame.payload)
        self.send(Kind.PROBE, 0, 0, read)
        if not read and self._mappings.proved:  # it could once, so it may again
            self._offer_later()

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
        elif frame.kind == Kind.SHARED:
            self.skip_shared(frame.payload)
        elif frame.kind not in _LATE:
            raise FrameError(f"a frame of kind {frame.kind} for a call that is OVER")

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
        elif frame.kind == Kind.PROBE:
            self._probed(frame)
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
                assert self.transport is not None
                if pid := process_of(self.transport):
                    self._mappings = Mappings(pid, self._release)
                    self._offer_to_map()
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
        if self._offers_again is not None:
            self._offers_again.cancel()
        if self._mappings is not None:
            self._mappings.close()
        self.on_lost()


async def connect(
    address: Address,
    replica_id: str,
    secret: bytes,
    *,
    host_id: str,
    max_message: int,
    decode_error: ErrorDecoder,
    kind: type[CallerConnection] = CallerConnection,
) -> CallerConnection:
    """Connect to a replica and prove to each other who you are.

    Args:
        host_id: This host; on the replica's own host its Unix socket is used.
        decode_error: Reads the errors that the replica sends; decides whether any is unpickled.
        kind: One that is observed, where a plugin asks.

    Raises:
        OSError: Nobody listens there.
        AuthenticationError: The replica is not the one meant, or of another instance.
        ConnectionLost: It hung up, or did not answer within two seconds.
    """
    loop = asyncio.get_running_loop()

    def make() -> CallerConnection:
        handshake = CallerHandshake(secret, replica_id)
        return kind(handshake, max_message=max_message, decode_error=decode_error)

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
