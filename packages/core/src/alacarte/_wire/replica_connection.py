"""The replica's end of a connection: authenticates the caller, then accepts calls.

Before a peer has proved that it knows the secret, it may send 4 KiB, has two seconds, and may be
evicted (`pending`). None of its bytes are unpickled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from ..types import Call, Message
from .authentication import (
    HANDSHAKE_TIMEOUT_S,
    MAX_HANDSHAKE_BYTES,
    AuthenticationError,
    ReplicaHandshake,
    welcome,
)
from .connection import LoadCounter, message_size
from .envelope import unpack_envelope
from .frames import CHUNK_BYTES, FINAL, STREAMING, Decoder, Frame, FrameError, Kind
from .refusals import RefusalLog
from .replica_stream import TRANSITIONS, ReplicaStream, ReplicaStreamState, ServingConnection
from .shared_memory import (
    LINGER_S,
    MAX_SHARED_BYTES,
    SHARED_BYTES,
    Segment,
    SegmentPool,
    read_inode,
)

__all__ = ["Acceptor", "ConnectionOwner", "ReplicaConnection", "ReplicaStream"]

_REQUEST = int(Kind.REQUEST)
_CANCEL = int(Kind.CANCEL)
_ALLOWED_AFTER_END = TRANSITIONS[ReplicaStreamState.OVER]


class Acceptor(Protocol):
    """The server that runs the calls of a replica's connections."""

    def accept(self, stream: ReplicaStream, call: Call) -> asyncio.Task[None] | None:
        """Start a call and return its task, or return None to reject the call unstarted."""

    def connection_ended(self, connection: ReplicaConnection) -> None:
        """Note the end of a caller's connection, whose calls have been cancelled."""


class ConnectionOwner(Protocol):
    """The owner of a connection: its listener.

    Attributes:
        acceptor: Runs the calls.
        metadata: Returns the metadata that an authenticated caller gets.
        load: Number of requests in flight.
        max_message: The longest request accepted, in bytes.
        advertisement: Payload of the ADVERTISE that an authenticated caller gets; b"" for none.
        refusals: Log of refused connections.
        segments: Segments for long replies to callers that can map them.
    """

    acceptor: Acceptor
    metadata: Callable[[], Mapping[str, object]]
    load: LoadCounter
    max_message: int
    advertisement: bytes
    refusals: RefusalLog
    segments: SegmentPool

    def handshake(self) -> ReplicaHandshake:
        """Return the replica's side of a handshake."""

    def admit(self, connection: ReplicaConnection) -> str:
        """Add a new connection; return the reason of a refusal, or ""."""

    def hello_received(self, connection: ReplicaConnection) -> None:
        """Note that a peer has sent a valid HELLO, and has still to authenticate."""

    def authenticated(self, connection: ReplicaConnection) -> None:
        """Note that a peer has authenticated."""

    def forget(self, connection: ReplicaConnection) -> None:
        """Remove a connection that has ended."""


class SegmentLease(NamedTuple):
    """A reply in shared memory that its caller has not released."""

    segment: Segment
    stream: int
    size: int


class ReplicaConnection(ServingConnection):
    """A replica's connection to one caller."""

    def __init__(self, listener: ConnectionOwner) -> None:
        super().__init__(Decoder(max_frame=MAX_HANDSHAKE_BYTES), listener.load)
        self._listener = listener
        self._acceptor = listener.acceptor
        self._handshake: ReplicaHandshake | None = listener.handshake()
        self._deadline: asyncio.TimerHandle | None = None
        self._streams: dict[int, ReplicaStream] = {}
        # Streams with a CANCEL among the frames of the current read.
        self._cancelled: set[int] = set()
        self._advertisement_due = False
        self._caller_maps = False
        self._leases: dict[int, SegmentLease] = {}
        self._linger_timer: asyncio.TimerHandle | None = None
        self._has_lingered = False

    @property
    def is_authenticated(self) -> bool:
        """Whether the handshake is complete."""
        return self._handshake is None

    def finish(self, stream: ReplicaStream) -> bool:
        """Remove a stream; return whether its caller still waits."""
        self._decoder.forget(stream.id)
        return self._streams.pop(stream.id, None) is not None

    @property
    def expects_more_frames(self) -> bool:
        return len(self._streams) > 0

    def is_wanted(self, stream: int) -> bool:
        # A complete reply's stream is removed before the reply's bytes are sent.
        return self.transport is not None

    # --- frames -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        refusal = self._listener.admit(self)
        if refusal:
            self.refuse(refusal)
            return
        self._deadline = asyncio.get_running_loop().call_later(
            HANDSHAKE_TIMEOUT_S, self.refuse, "the peer did not authenticate in time"
        )

    def refuse(self, reason: str) -> None:
        if self._handshake is None or not self.connected:
            super().refuse(reason)
            return
        self._listener.refusals.note(self.peer, reason)
        self.abort()

    def frames_arrived(self, frames: list[Frame]) -> None:
        self._cancelled = {frame.stream for frame in frames if frame.kind == _CANCEL}

    def frame_received(self, frame: Frame) -> None:
        """Pass a frame to its call, to the handshake, or to a new call."""
        if self._handshake is not None:
            self._receive_handshake(frame, self._handshake)
            return
        stream_id = frame.stream
        if frame.kind == _REQUEST:
            self._requested(frame)
        elif stream_id:
            stream = self._streams.get(stream_id)
            if stream is not None:
                stream.received(frame)
            elif frame.kind not in _ALLOWED_AFTER_END:
                raise FrameError(f"a frame of kind {frame.kind} for a call that is OVER")
            if frame.kind == _CANCEL:
                self._cancelled.discard(stream_id)
                self._stop_pump(stream_id)
        elif frame.kind == Kind.PING:
            self.send(Kind.PONG, 0, 0)
        elif frame.kind == Kind.RELEASE:
            self._released(frame)
        elif frame.kind == Kind.COPY:
            self._copied(frame)
        elif frame.kind == Kind.MAPS:
            probe = self._listener.segments.probe()
            if probe is not None:
                self.send(Kind.PROBE, 0, 0, probe)
        elif frame.kind == Kind.PROBE:
            self._caller_maps = self._linger_timer is None and self._listener.segments.proves(
                frame.payload
            )
        elif frame.kind != Kind.PONG:
            raise FrameError(f"a frame of kind {frame.kind} outside of a stream")

    def _requested(self, frame: Frame) -> None:
        stream_id = frame.stream
        if not stream_id or stream_id in self._streams:
            raise FrameError(f"a request on stream {stream_id}, which is in use")
        if stream_id in self._cancelled:
            return  # cancelled in the same read, before its first step
        call = unpack_envelope(frame.payload, frame.flags)
        stream = ReplicaStream(self, stream_id)
        stream.may_share = frame.flags & STREAMING != 0
        if not frame.flags & FINAL:
            call.body = stream.body()
        self._streams[stream_id] = stream
        task = self._acceptor.accept(stream, call)
        if task is None:
            del self._streams[stream_id]
            self.send(Kind.REJECT, FINAL, stream_id)
        else:
            stream.accepted(task)

    # --- shared memory ------------------------------------------------------------------

    def share(self, stream_id: int, message: Message) -> bool:
        """Send a long reply as a segment for the caller to map; return False if that is impossible.

        The caller must have proved that it maps segments, and a segment must be free.
        """
        if not self._caller_maps or self.transport is None:
            return False
        size = message_size(message)
        longest = min(MAX_SHARED_BYTES, self._decoder.max_message)
        if not SHARED_BYTES <= size <= longest:
            return False
        segment = self._listener.segments.take(size)
        if segment is None:
            return False
        self._leases[segment.inode] = SegmentLease(segment, stream_id, size)
        self.send(Kind.SHARED, FINAL, stream_id, segment.write(message, size))
        return True

    def _released(self, frame: Frame) -> None:
        self._end_lease(self._lease(frame))

    def _copied(self, frame: Frame) -> None:
        """Send a reply that its caller could not map over the socket, and share no further one."""
        self._caller_maps = False
        lease = self._lease(frame)
        copy = lease.segment.read(lease.size)
        self.send_message(Kind.RESPONSE, FINAL, lease.stream, (copy,))
        self._end_lease(lease)

    def _lease(self, frame: Frame) -> SegmentLease:
        lease = self._leases.get(read_inode(frame.payload))
        if lease is None:
            raise FrameError("a release of a segment that was not shared")
        return lease

    def _end_lease(self, lease: SegmentLease) -> None:
        del self._leases[lease.segment.inode]
        self._listener.segments.release(lease.segment)
        if self._linger_timer is not None and not self._leases:
            self._end_linger()

    def close(self) -> None:
        """Close after all written data has been sent and the last replies could be mapped.

        The memory of a process cannot be mapped after its end, so the connection lingers.
        """
        self._caller_maps = False
        if not self._leases or self._has_lingered:
            super().close()
        elif self._linger_timer is None:
            self._linger_timer = asyncio.get_running_loop().call_later(LINGER_S, self._end_linger)

    def _end_linger(self) -> None:
        assert self._linger_timer is not None
        self._linger_timer.cancel()
        self._has_lingered = True
        self.close()

    def _receive_handshake(self, frame: Frame, handshake: ReplicaHandshake) -> None:
        try:
            if frame.kind == Kind.HELLO:
                self.send(Kind.CHALLENGE, 0, 0, handshake.challenge(frame.payload))
                self._listener.hello_received(self)
            elif frame.kind == Kind.PROOF:
                handshake.accept(frame.payload)
                self._finish_handshake()
            else:
                raise AuthenticationError(f"a frame of kind {frame.kind} before authentication")
        except AuthenticationError as error:
            raise FrameError(str(error)) from None

    def _finish_handshake(self) -> None:
        self._handshake = None
        assert self._deadline is not None
        self._deadline.cancel()
        self._decoder.max_frame = CHUNK_BYTES
        self._decoder.max_message = self._listener.max_message
        self._listener.authenticated(self)
        self.send(Kind.WELCOME, 0, 0, welcome(self._listener.metadata()))
        if self._listener.advertisement:
            self.advertise()

    def advertise(self) -> None:
        """Send the caller the current advertisement: now, or when the socket takes data again.

        Each ADVERTISE replaces the one before, so a slow caller gets only the last of several.
        """
        self._advertisement_due = self._writable is not None
        if not self._advertisement_due:
            self.send(Kind.ADVERTISE, 0, 0, self._listener.advertisement)

    def pause_writing(self) -> None:
        """Stop reading from a caller that does not read, since each of its frames causes an answer.

        Its CANCEL, CREDIT and PING frames wait, too. None of them is urgent: unread data is a sign
        of life, and no stream sends more meanwhile. A caller never stops reading, so the two ends
        cannot deadlock.
        """
        super().pause_writing()
        if self.transport is not None:
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.transport is None:
            return
        self.transport.resume_reading()
        if self._advertisement_due:
            self.advertise()

    def lost(self, error: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        if self._linger_timer is not None:
            self._linger_timer.cancel()
        self._listener.forget(self)
        while self._leases:  # the caller may still read them, and can no longer send a RELEASE
            self._listener.segments.drop(self._leases.popitem()[1].segment)
        for stream in list(self._streams.values()):
            stream.cancel()
        self._acceptor.connection_ended(self)
