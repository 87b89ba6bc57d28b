"""The caller's end of a stream: the state of one call, and the frames allowed in each state.

A frame may arrive in the iteration of the event loop in which its call is cancelled. `TRANSITIONS`
names the handler of each frame in each state. Any other frame closes the connection and fails all
of its calls, so the table must hold every frame that a correct replica can send.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from enum import IntEnum, auto

from ..aio import close_iterator
from ..types import Buffer, Call, Reply
from .connection import Connection
from .error_codec import ErrorDecoder
from .flow import Inbox, SendWindow, read_credit, write_credit
from .frames import FINAL, Frame, FrameError, Kind
from .reply_writer import ReplyWriter

__all__ = [
    "TRANSITIONS",
    "CallConnection",
    "CallerStream",
    "CallerStreamState",
    "ConnectionLost",
    "Rejected",
]


class Rejected(Exception):
    """The replica rejected the call unstarted; the call may be sent to another replica."""


class ConnectionLost(Exception):
    """The connection is closed or has broken; a call that was sent may have started."""


class CallerStreamState(IntEnum):
    """State of a call at its caller."""

    SENT = auto()
    """No frame of the replica has arrived."""
    ACCEPTED = auto()
    """The replica reads the call's body."""
    ABANDONED = auto()
    """The future of the reply was cancelled, and no CANCEL was sent yet."""
    REPLYING = auto()
    """The first message of a streaming reply has arrived."""
    OVER = auto()
    """The call has ended at the caller. Frames that crossed with its end may still arrive."""


_SENT, _ACCEPTED, _ABANDONED, _REPLYING, _OVER = CallerStreamState


class CallConnection(Connection):
    """The part of a caller's connection that its streams use.

    Attributes:
        loop: The event loop of the connection.
        decode_error: Decodes the errors that the replica sends.
    """

    loop: asyncio.AbstractEventLoop
    decode_error: ErrorDecoder

    def forget(self, stream_id: int) -> None:
        """Remove the stream of a call that has ended."""
        raise NotImplementedError

    def read_shared(self, reference: Buffer) -> memoryview | None:
        """Return a reply in shared memory, or None when its segment cannot be mapped.

        The segment is released when no reference to the reply is left. After None the replica
        sends the reply over the socket.

        Raises:
            FrameError: The replica may not share memory, or the reference is malformed.
        """
        raise NotImplementedError

    def release_shared(self, reference: Buffer) -> None:
        """Release the segment of a reply that is not read."""
        raise NotImplementedError


class CallerStream:
    """One call on a connection.

    Attributes:
        reply: Resolves to the `Reply`, or to the error. The rest of a streaming reply is read
            from `Reply.rest`.
        done: Called once when the stream has ended, by reply, error or cancellation.
        error: The error with which the stream ended; None before the end, and after a whole reply.
        on_reply: Called when a streaming reply begins; None without an observer.
        rejected: The replica rejected the call unstarted.
        replica_id: The replica of the connection, for errors.
    """

    __slots__ = (
        "_connection", "_inbox", "_state", "_upload_task", "_window", "done", "error", "id",
        "on_reply", "rejected", "replica_id", "reply",
    )  # fmt: skip

    def __init__(
        self, connection: CallConnection, stream_id: int, done: Callable[[CallerStream], None]
    ) -> None:
        self.id = stream_id
        self.done: Callable[[CallerStream], None] | None = done
        self.error: BaseException | None = None
        self.on_reply: Callable[[], None] | None = None
        self.rejected = False
        self.replica_id = ""
        self.reply: asyncio.Future[Reply] = connection.loop.create_future()
        self._connection = connection
        self._state = _SENT
        self._inbox: Inbox | None = None
        self._window: SendWindow | None = None
        self._upload_task: asyncio.Task[None] | None = None

    def upload(self, call: Call) -> None:
        """Send the call's body as it is produced, beginning with the replica's first credit.

        Before the first credit the replica may reject the call, and a body of which a part was
        read could not be sent to another replica.
        """
        self._window = SendWindow(0)
        self._upload_task = self._connection.loop.create_task(self._upload(call, self._window))
        self._upload_task.add_done_callback(self._upload_done)

    def cancel(self) -> None:
        """Cancel the call at both ends; do nothing after its end."""
        if self.done is not None:
            self._connection.send(Kind.CANCEL, FINAL, self.id)
            self.error = asyncio.CancelledError()
            self._close()
            if not self.reply.done():
                self.reply.cancel()

    @property
    def is_repeatable(self) -> bool:
        """Whether the call can be sent again, because no part of its body has been read."""
        return self._window is None or not self._window.was_granted

    def abandon(self, error: BaseException) -> None:
        """Cancel the call and fail it with this error, unless its reply has begun."""
        if self.done is not None and not self.reply.done():
            self._connection.send(Kind.CANCEL, FINAL, self.id)
            self.fail(error)

    @property
    def state(self) -> CallerStreamState:
        """The state of the call."""
        state = self._state
        # The caller's task may have been cancelled in this iteration of the event loop.
        return _ABANDONED if state <= _ACCEPTED and self.reply.cancelled() else state

    @property
    def has_reply(self) -> bool:
        """Whether a reply has begun."""
        reply = self.reply
        return reply.done() and not reply.cancelled() and reply.exception() is None

    def received(self, frame: Frame) -> None:
        """Handle a frame of this call.

        Raises:
            FrameError: The frame is not allowed in the state of the call.
        """
        # The common state of a streaming reply, without the cost of the property.
        state = _REPLYING if self._state is _REPLYING else self.state
        transition = TRANSITIONS[state].get(frame.kind)
        if transition is None:
            raise FrameError(f"a frame of kind {frame.kind} for a call that is {state.name}")
        transition(self, frame)

    def fail(self, error: BaseException) -> None:
        """End the stream with an error, which follows the messages that have arrived."""
        self.error = error
        self._close()
        if self._inbox is not None:
            self._inbox.fail(error)
        elif not self.reply.done():
            self.reply.set_exception(error)
            self.reply.exception()  # retrieved: asyncio logs nothing when no task awaits the reply

    def _grant(self, size: int) -> None:
        self._connection.send(Kind.CREDIT, 0, self.id, write_credit(size))

    async def _upload(self, call: Call, window: SendWindow) -> None:
        assert call.body is not None
        try:
            await ReplyWriter(self._connection, self.id, call.body, window).run()
        except BaseException:
            # An unread body without a reply may be sent to another replica.
            if window.was_granted or self.has_reply:
                await close_iterator(call.body)
            raise
        self._connection.send(Kind.END, FINAL, self.id)

    def _upload_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None and self.done:
            # The source of the body failed, for example because its client disconnected.
            self._connection.send(Kind.CANCEL, FINAL, self.id)
            self.fail(error)

    # --- transitions --------------------------------------------------------------------

    def _replied(self, frame: Frame) -> None:
        if frame.flags & FINAL:
            # Before `_close`, whose callbacks read the reply.
            self.reply.set_result(Reply((frame.payload,)))
            self._close()
        else:
            self._state = _REPLYING
            self._inbox = Inbox(self._grant, self.cancel, self._connection.arrived)
            self.reply.set_result(Reply((frame.payload,), self._inbox))
            if self.on_reply is not None:
                self.on_reply()

    def _shared(self, frame: Frame) -> None:
        message = self._connection.read_shared(frame.payload)
        if message is None:
            return
        self.reply.set_result(Reply((message,)))
        self._close()

    def _abandoned_shared(self, frame: Frame) -> None:
        self._connection.release_shared(frame.payload)
        self.error = asyncio.CancelledError()
        self._close()

    def _message(self, frame: Frame) -> None:
        assert self._inbox is not None
        self._inbox.put(frame.payload)
        if frame.flags & FINAL:
            self._ended(frame)

    def _ended(self, frame: Frame) -> None:
        self._close()
        assert self._inbox is not None
        self._inbox.end()

    def _failed(self, frame: Frame) -> None:
        self.fail(self._connection.decode_error(frame.payload))

    def _rejected(self, frame: Frame) -> None:
        self.rejected = True
        self.fail(Rejected())

    def _credited(self, frame: Frame) -> None:
        if self._window is None:
            raise FrameError("a credit for a call without a body")
        self._window.grant(read_credit(frame.payload))
        if self._state is _SENT:
            self._state = _ACCEPTED

    def _abandoned_reply(self, frame: Frame) -> None:
        """Cancel a call whose reply arrives though its caller no longer waits."""
        if frame.flags & FINAL:
            self.error = asyncio.CancelledError()
            self._close()
        else:
            self.cancel()

    def _late(self, frame: Frame) -> None:
        """Ignore a frame that crossed with the end of the call."""

    def _close(self) -> None:
        self._state = _OVER
        if self._upload_task is not None and not self._upload_task.done():
            self._upload_task.cancel()
        self._connection.forget(self.id)
        done, self.done = self.done, None
        if done is not None:
            done(self)


_Transition = Callable[[CallerStream, Frame], None]

TRANSITIONS: Mapping[CallerStreamState, Mapping[int, _Transition]] = {
    _SENT: {
        Kind.RESPONSE: CallerStream._replied,
        Kind.SHARED: CallerStream._shared,
        Kind.ERROR: CallerStream._failed,
        Kind.REJECT: CallerStream._rejected,
        Kind.CREDIT: CallerStream._credited,
    },
    _ACCEPTED: {
        Kind.RESPONSE: CallerStream._replied,
        Kind.SHARED: CallerStream._shared,
        Kind.ERROR: CallerStream._failed,
        Kind.CREDIT: CallerStream._credited,
    },
    _ABANDONED: {
        Kind.RESPONSE: CallerStream._abandoned_reply,
        Kind.SHARED: CallerStream._abandoned_shared,
        Kind.ERROR: CallerStream._abandoned_reply,
        Kind.REJECT: CallerStream._rejected,
        Kind.CREDIT: CallerStream._abandoned_reply,
    },
    _REPLYING: {
        Kind.DATA: CallerStream._message,
        Kind.END: CallerStream._ended,
        Kind.ERROR: CallerStream._failed,
        Kind.CREDIT: CallerStream._credited,
    },
    _OVER: dict.fromkeys(
        (
            Kind.RESPONSE,
            Kind.DATA,
            Kind.END,
            Kind.ERROR,
            Kind.REJECT,
            Kind.CREDIT,
            Kind.CANCEL,  # the answer to a CANCEL that interrupted a long message
        ),
        CallerStream._late,
    ),
}
"""The handler of each frame in each state; any other frame closes the connection."""
