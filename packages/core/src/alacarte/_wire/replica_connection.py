"""The serving end of a connection: authenticate the caller, then take calls.

Before a peer has proved that it knows the secret, it may send 4 KiB and take two seconds, and has
to give way when too many do the same (`pending`). Nothing of it is unpickled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from ..types import Call, Message
from .authentication import (
    HANDSHAKE_TIMEOUT_S,
    MAX_HANDSHAKE_BYTES,
    AuthenticationError,
    ReplicaHandshake,
    welcome,
)
from .connection import Load, message_size
from .envelope import unpack_envelope
from .frames import CHUNK_BYTES, FINAL, STREAMING, Decoder, Frame, FrameError, Kind
from .refusals import RefusalLog
from .replica_stream import TRANSITIONS, ReplicaStream, ReplicaStreamState, ServingConnection
from .shared_memory import LINGER_S, MAX_SHARED_BYTES, SHARED_BYTES, Segment, Segments, read_inode

__all__ = ["Acceptor", "ConnectionOwner", "ReplicaConnection", "ReplicaStream"]

_REQUEST = int(Kind.REQUEST)
_CANCEL = int(Kind.CANCEL)
_LATE = TRANSITIONS[ReplicaStreamState.OVER]


class Acceptor(Protocol):
    """What a replica does with the calls that arrive."""

    def accept(self, stream: ReplicaStream, call: Call) -> asyncio.Task[Any] | None:
        """Start the call and return its task, or None to refuse it unstarted."""

    def hung_up(self, connection: ReplicaConnection) -> None:
        """A caller's connection is gone; its calls have been cancelled."""


class ConnectionOwner(Protocol):
    """Accepted a connection, and decides whether it may stay.

    Attributes:
        acceptor: Takes the calls.
        facts: What a caller is told once trusted.
        load: Requests the replica works on.
        max_message: The longest request accepted, in bytes.
        advertisement: What a caller is told that the replica holds, packed.
        refusals: Where refused callers are noted.
        segments: Where long replies are put for callers that can map them.
    """

    acceptor: Acceptor
    facts: Callable[[], dict[str, Any]]
    load: Load
    max_message: int
    advertisement: bytes
    refusals: RefusalLog
    segments: Segments

    def handshake(self) -> ReplicaHandshake:
        """Return the replica's side of a handshake."""

    def admit(self, connection: ReplicaConnection) -> str:
        """Take in a new connection; return why not, or ""."""

    def greeted(self, connection: ReplicaConnection) -> None:
        """Note that a peer has named this replica, and has still to prove itself."""

    def trusted(self, connection: ReplicaConnection) -> None:
        """Note that a peer has proved itself."""

    def forget(self, connection: ReplicaConnection) -> None:
        """Let go of a connection that has ended."""


class SegmentLease(NamedTuple):
    """A reply in shared memory that its caller has not let go of."""

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
        # Streams whose CANCEL has arrived together with frames that are still to be handled.
        self._cancelled: set[int] = set()
        self._advertisement_due = False
        self._maps = False
        self._leases: dict[int, SegmentLease] = {}
        self._lingers: asyncio.TimerHandle | None = None
        self._lingered = False

    @property
    def trusted(self) -> bool:
        return self._handshake is None

    def finish(self, stream: ReplicaStream) -> bool:
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

    def look_ahead(self, frames: list[Frame]) -> None:
        self._cancelled = {frame.stream for frame in frames if frame.kind == _CANCEL}

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
            elif frame.kind not in _LATE:
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
            self._maps = self._lingers is None and self._listener.segments.proves(frame.payload)
        elif frame.kind != Kind.PONG:
            raise FrameError(f"a frame of kind {frame.kind} outside of a stream")

    def _requested(self, frame: Frame) -> None:
        stream_id = frame.stream
        if not stream_id or stream_id in self._streams:
            raise FrameError(f"a request on stream {stream_id}, which is in use")
        if stream_id in self._cancelled:
            return  # the first step of a call runs at once, and nobody awaits this one any more
        call = unpack_envelope(frame.payload, frame.flags)
        stream = ReplicaStream(self, stream_id)
        stream.maps = frame.flags & STREAMING != 0
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
        """Send a long reply as a segment that its caller maps; return False where it cannot be."""
        if not self._maps or self.transport is None:
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
        """Send a reply over the socket that its caller cannot map, and share no more."""
        self._maps = False
        lease = self._lease(frame)
        copy = lease.segment.read(lease.size)
        self.send_message(Kind.RESPONSE, FINAL, lease.stream, (copy,))
        self._end_lease(lease)

    def _lease(self, frame: Frame) -> SegmentLease:
        lease = self._leases.get(read_inode(frame.payload))
        if lease is None:
            raise FrameError("a release of what was not shared")
        return lease

    def _end_lease(self, lease: SegmentLease) -> None:
        del self._leases[lease.segment.inode]
        self._listener.segments.give_back(lease.segment)
        if self._lingers is not None and not self._leases:
            self._hang_up()

    def close(self) -> None:
        """Close when what was written has been sent, and the last replies had time to be mapped.

        The memory of a process that has ended cannot be mapped any more.
        """
        self._maps = False
        if not self._leases or self._lingered:
            super().close()
        elif self._lingers is None:
            self._lingers = asyncio.get_running_loop().call_later(LINGER_S, self._hang_up)

    def _hang_up(self) -> None:
        assert self._lingers is not None
        self._lingers.cancel()
        self._lingered = True
        self.close()

    def _shake(self, frame: Frame, handshake: ReplicaHandshake) -> None:
        try:
            if frame.kind == Kind.HELLO:
                self.send(Kind.CHALLENGE, 0, 0, handshake.challenge(frame.payload))
                self._listener.greeted(self)
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

    def pause_writing(self) -> None:
        """Read nothing of a caller that does not read: all that it sends asks for an answer.

        Its CANCELs, CREDITs and PINGs wait with its calls. None of them is missed: what it waits to
        read is a sign of life, and no stream sends more meanwhile. Callers always read, since of
        two ends that wait for each other one has to.
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
        if self._lingers is not None:
            self._lingers.cancel()
        self._listener.forget(self)
        while self._leases:  # the caller may read on, and cannot tell us any more
            self._listener.segments.drop(self._leases.popitem()[1].segment)
        for stream in list(self._streams.values()):
            stream.cancel()
        self._acceptor.hung_up(self)
