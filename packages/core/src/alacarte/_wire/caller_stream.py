"""One call at its caller: what has come of the reply, and what may come next.

Frames arrive whatever the caller does meanwhile, also in the very turn of the loop in which it
gives up. `TRANSITIONS` says what each frame means in each state; what it does not hold closes the
connection, and with it everybody's calls: no correct replica may be able to send it.
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
    """The replica did not take the request: it has not started and may go elsewhere."""


class ConnectionLost(Exception):
    """The connection broke after the request was sent: it may have started."""


class CallerStreamState(IntEnum):
    """How far a call has come, as its caller sees it."""

    SENT = auto()
    """Nothing of the replica has arrived."""
    TAKEN = auto()
    """The replica reads the call's body."""
    ABANDONED = auto()
    """Nobody awaits the reply any more, and the replica has not been told yet."""
    REPLYING = auto()
    """The reply has begun, and more of it follows."""
    OVER = auto()
    """The call has ended here. What the replica sent before it knew may still arrive."""


_SENT, _TAKEN, _ABANDONED, _REPLYING, _OVER = CallerStreamState


class CallConnection(Connection):
    """A connection as the calls on it see it.

    Attributes:
        loop: The event loop of the connection.
        decode_error: Reads the errors that the replica sends.
    """

    loop: asyncio.AbstractEventLoop
    decode_error: ErrorDecoder

    def forget(self, stream_id: int) -> None:
        """Take a call that has ended off the connection."""
        raise NotImplementedError

    def read_shared(self, reference: Buffer) -> memoryview | None:
        """Return a reply in shared memory; its segment is given back when nothing refers to it.

        None where the segment cannot be mapped: the reply will come over the socket.

        Raises:
            FrameError: The replica may not share memory, or it is no reference.
        """
        raise NotImplementedError

    def skip_shared(self, reference: Buffer) -> None:
        """Give back the segment of a reply that nobody reads."""
        raise NotImplementedError


class CallerStream:
    """One call on a connection.

    Attributes:
        reply: Resolves to the `Reply`, or raises the error that came instead. A reply that
            streams is read from `Reply.rest`.
        done: Called once when the stream has ended, whatever its end.
        error: What the stream ended with in place of a whole reply; None before that.
        on_reply: Called when a reply has begun of which more follows; None where nobody asks.
        refused: The replica did not take the call.
        replica_id: Where it was sent, for errors.
    """

    __slots__ = (
        "_connection", "_inbox", "_state", "_uploads", "_window", "done", "error", "id",
        "on_reply", "refused", "replica_id", "reply",
    )  # fmt: skip

    def __init__(
        self, connection: CallConnection, stream_id: int, done: Callable[[CallerStream], None]
    ) -> None:
        self.id = stream_id
        self.done: Callable[[CallerStream], None] | None = done
        self.error: BaseException | None = None
        self.on_reply: Callable[[], None] | None = None
        self.refused = False
        self.replica_id = ""
        self.reply: asyncio.Future[Reply] = connection.loop.create_future()
        self._connection = connection
        self._state = _SENT
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
            self.error = asyncio.CancelledError()
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
    def state(self) -> CallerStreamState:
        """How far the call has come."""
        state = self._state
        # Its task may have been cancelled in this very turn of the loop.
        return _ABANDONED if state <= _TAKEN and self.reply.cancelled() else state

    @property
    def answered(self) -> bool:
        """Whether a reply has begun."""
        reply = self.reply
        return reply.done() and not reply.cancelled() and reply.exception() is None

    def received(self, frame: Frame) -> None:
        """Take a frame of this call.

        Raises:
            FrameError: No correct replica sends it in this state.
        """
        # Items of a streamed reply are many, and theirs is the state that is told most cheaply.
        state = _REPLYING if self._state is _REPLYING else self.state
        transition = TRANSITIONS[state].get(frame.kind)
        if transition is None:
            raise FrameError(f"a frame of kind {frame.kind} for a call that is {state.name}")
        transition(self, frame)

    def fail(self, error: BaseException) -> None:
        """End the stream with an error: in place of the reply, or after what has arrived."""
        self.error = error
        self._close()
        if self._inbox is not None:
            self._inbox.fail(error)
        elif not self.reply.done():
            self.reply.set_exception(error)
            self.reply.exception()  # seen: a caller that is gone is no reason to complain

    def _grant(self, size: int) -> None:
        self._connection.send(Kind.CREDIT, 0, self.id, write_credit(size))

    async def _upload(self, call: Call, window: SendWindow) -> None:
        assert call.body is not None
        try:
            await ReplyWriter(self._connection, self.id, call.body, window).run()
        except BaseException:
            # What is whole, and not answered either, may go to another replica.
            if window.granted or self.answered:
                await close_iterator(call.body)
            raise
        self._connection.send(Kind.END, FINAL, self.id)

    def _uploaded(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None and self.done:
            # The source of the body failed (the client left, say): so has the call.
            self._connection.send(Kind.CANCEL, FINAL, self.id)
            self.fail(error)

    # --- transitions --------------------------------------------------------------------

    def _replied(self, frame: Frame) -> None:
        if frame.flags & FINAL:
            # First: whoever is told of the end may look at the reply.
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

    def _unwanted_shared(self, frame: Frame) -> None:
        self._connection.skip_shared(frame.payload)
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
        self.refused = True
        self.fail(Rejected())

    def _credited(self, frame: Frame) -> None:
        if self._window is None:
            raise FrameError("a credit for a call without a body")
        self._window.grant(read_credit(frame.payload))
        if self._state is _SENT:
            self._state = _TAKEN

    def _unwanted(self, frame: Frame) -> None:
        """What nobody awaits any more ends the call, whether or not its caller says so, too."""
        if frame.flags & FINAL:
            self.error = asyncio.CancelledError()
            self._close()
        else:
            self.cancel()

    def _late(self, frame: Frame) -> None:
        """It crossed with the end of the call."""

    def _close(self) -> None:
        self._state = _OVER
        if self._uploads is not None and not self._uploads.done():
            self._uploads.cancel()
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
    _TAKEN: {
        Kind.RESPONSE: CallerStream._replied,
        Kind.SHARED: CallerStream._shared,
        Kind.ERROR: CallerStream._failed,
        Kind.CREDIT: CallerStream._credited,
    },
    _ABANDONED: {
        Kind.RESPONSE: CallerStream._unwanted,
        Kind.SHARED: CallerStream._unwanted_shared,
        Kind.ERROR: CallerStream._unwanted,
        Kind.REJECT: CallerStream._rejected,
        Kind.CREDIT: CallerStream._unwanted,
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
            Kind.CANCEL,  # the answer to ours, where it stopped a long message
        ),
        CallerStream._late,
    ),
}
"""What a frame means in each state; anything absent closes the connection."""
