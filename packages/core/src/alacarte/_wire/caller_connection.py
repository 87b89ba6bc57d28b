"""The caller's end of a connection: opens streams, and hands each frame to its stream.

One connection carries all calls of this process to one replica. A connection and its streams
belong to the event loop on which the connection was made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

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
from .connection import LoadCounter
from .envelope import pack_envelope
from .error_codec import ErrorDecoder
from .frames import BYPASS_LIMIT, CHUNK_BYTES, FINAL, STREAMING, Decoder, Frame, FrameError, Kind
from .shared_memory import RETRY_S, SegmentMappings, peer_process, read_reference, write_inode

__all__ = ["CallerStream", "CallerConnection", "ConnectionLost", "Rejected", "connect"]

_LAST_STREAM = 0xFFFFFFFF
_ALLOWED_AFTER_END = TRANSITIONS[CallerStreamState.OVER]


class CallerConnection(CallConnection):
    """A caller's connection to one replica.

    Attributes:
        loop: The event loop of the connection.
        replica_load: Requests in flight at the replica, as of its last frame.
        metadata: The replica's metadata, from its WELCOME.
        advertised: The values that the replica advertises, by topic.
        decode_error: Decodes the errors that replicas send: `rebuild_error` in processes that
            unpickle nothing, else `unpickle_error`.
        on_advertised: Called when `advertised` has changed.
        on_load: Called when the replica announces free slots.
        on_goaway: Called when the replica stops accepting calls.
        on_pong: Called when the replica answers a PING.
        on_lost: Called once when the connection has ended.
    """

    def __init__(
        self, handshake: CallerHandshake, *, max_message: int, decode_error: ErrorDecoder
    ) -> None:
        super().__init__(Decoder(max_frame=MAX_HANDSHAKE_BYTES), LoadCounter())
        self.loop = asyncio.get_running_loop()
        self.replica_load = 0
        self.metadata: Mapping[str, object] = {}
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
        self._mappings: SegmentMappings | None = None
        self._mapping_retry: asyncio.TimerHandle | None = None

    # --- calls --------------------------------------------------------------------------

    def open(self, call: Call, done: Callable[[CallerStream], None]) -> CallerStream:
        """Send a call and return its stream, which receives the reply.

        Raises:
            ConnectionLost: The connection has ended; nothing was sent.
            ConfigError: The call cannot be encoded, or is longer than
                `ClusterOptions.max_message_bytes`.
        """
        if self.transport is None or self.transport.is_closing():
            raise ConnectionLost("not connected")
        envelope = pack_envelope(call)
        stream_id = self._next_stream
        while stream_id in self._streams:  # a stream older than four billion calls
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
        """Send a PING, which the replica's event loop answers; see `on_pong`."""
        self.send(Kind.PING, 0, 0)

    def forget(self, stream_id: int) -> None:
        self._streams.pop(stream_id, None)
        self._decoder.forget(stream_id)

    @property
    def expects_more_frames(self) -> bool:
        return len(self._streams) > 1

    def is_wanted(self, stream: int) -> bool:
        return stream in self._streams

    # --- shared memory ------------------------------------------------------------------

    def read_shared(self, reference: Buffer) -> memoryview | None:
        mappings = self._proved_mappings()
        try:
            return mappings.read(reference, self._max_message)
        except OSError:
            # The replica sends a copy, and shares no memory until the next MAPS.
            self.send(Kind.COPY, 0, 0, write_inode(read_reference(reference)[1]))
            self._retry_mapping_later()
            return None

    def release_shared(self, reference: Buffer) -> None:
        self._proved_mappings()
        self._release(read_reference(reference)[1])

    def _proved_mappings(self) -> SegmentMappings:
        if self._mappings is None or not self._mappings.proved:
            raise FrameError("shared memory that this connection did not offer to map")
        return self._mappings

    def _release(self, inode: int) -> None:
        self.send(Kind.RELEASE, 0, 0, write_inode(inode))

    def _retry_mapping_later(self) -> None:
        if self._mapping_retry is None:
            self._mapping_retry = self.loop.call_later(RETRY_S, self._offer_mapping)

    def _offer_mapping(self) -> None:
        self._mapping_retry = None
        # A busy replica that has not answered the last offer still will.
        if self._mappings is not None and self.connected and not self._mappings.offered:
            self._mappings.offered = True
            self.send(Kind.MAPS, 0, 0)

    def _receive_probe(self, frame: Frame) -> None:
        if self._mappings is None:
            raise FrameError("a probe that this connection did not offer to map")
        read = self._mappings.probe(frame.payload)
        self.send(Kind.PROBE, 0, 0, read)
        if not read and self._mappings.proved:  # a passing lack of descriptors
            self._retry_mapping_later()

    # --- frames -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self._handshake is not None
        self.send(Kind.HELLO, 0, 0, self._handshake.hello())

    def frame_received(self, frame: Frame) -> None:
        """Pass a frame to its call, to the handshake, or to the announcements of the replica."""
        if self._handshake is not None:
            self._receive_handshake(frame, self._handshake)
            return
        self.replica_load = frame.load
        stream = self._streams.get(frame.stream)
        if stream is not None:
            stream.received(frame)
        elif frame.stream == 0:
            self._receive_announcement(frame)
        elif frame.kind == Kind.SHARED:
            self.release_shared(frame.payload)
        elif frame.kind not in _ALLOWED_AFTER_END:
            raise FrameError(f"a frame of kind {frame.kind} for a call that is OVER")

    def _receive_announcement(self, frame: Frame) -> None:
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
            self._receive_probe(frame)
        else:
            raise FrameError(f"a frame of kind {frame.kind} outside of a stream")

    def _receive_handshake(self, frame: Frame, handshake: CallerHandshake) -> None:
        try:
            if frame.kind == Kind.CHALLENGE:
                self.send(Kind.PROOF, 0, 0, handshake.prove(frame.payload))
            elif frame.kind == Kind.WELCOME:
                self.metadata = handshake.read_welcome(frame.payload)
                self._handshake = None
                self._decoder.max_frame = CHUNK_BYTES
                self._decoder.max_message = self._max_message
                assert self.transport is not None
                if pid := peer_process(self.transport):
                    self._mappings = SegmentMappings(pid, self._release)
                    self._offer_mapping()
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
        if self._mapping_retry is not None:
            self._mapping_retry.cancel()
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
    """Connect to a replica and authenticate both ends.

    Args:
        host_id: Id of this host; a replica on the same host is reached by its Unix socket.
        decode_error: Decodes the errors that the replica sends; decides whether they are unpickled.
        kind: Class of the connection; see `observed_connection`.

    Raises:
        OSError: No process listens at the address.
        AuthenticationError: The peer is another replica, or belongs to another instance.
        ConnectionLost: The replica closed the connection, or did not answer within two seconds.
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
                raise OSError(f"replica {replica_id} runs on another host and has no TCP address")
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
