"""The replica's end of a stream: receives the body of one call, and sends its reply.

`TRANSITIONS` names the handler of each frame in each state, as in `caller_stream`; any other frame
closes the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from enum import IntEnum, auto

from ..errors import ConfigError
from ..types import Message, NestedCalls, Reply
from .connection import Connection
from .error_codec import encode_error
from .flow import WINDOW_BYTES, Inbox, SendWindow, read_credit, write_credit
from .frames import FINAL, Frame, FrameError, Kind
from .reply_writer import ReplyWriter

__all__ = ["TRANSITIONS", "ReplicaStreamState", "ReplicaStream", "ServingConnection"]


class ReplicaStreamState(IntEnum):
    """State of a call at its replica."""

    RECEIVING = auto()
    """A part of the body is still to arrive."""
    RECEIVED = auto()
    """The whole body has arrived."""
    OVER = auto()
    """The call was answered or cancelled. Frames that crossed with its end may still arrive."""


_RECEIVING, _RECEIVED, _OVER = ReplicaStreamState


class ServingConnection(Connection):
    """The part of a replica's connection that its streams use."""

    def finish(self, stream: ReplicaStream) -> bool:
        """Remove a stream; return whether its caller still waits."""
        raise NotImplementedError

    def share(self, stream_id: int, message: Message) -> bool:
        """Send a long reply as a segment for the caller to map; return False if it cannot."""
        raise NotImplementedError


class ReplicaStream:
    """One call in a replica.

    Attributes:
        released: The slot of the call was freed.
        nested: The calls that this call's handler makes; None before the handler runs.
        may_share: The reply may be sent in shared memory, if the caller can map segments.
    """

    __slots__ = (
        "_inbox", "_receiving", "_window", "connection", "id", "may_share", "nested", "released",
        "task",
    )  # fmt: skip

    def __init__(self, connection: ServingConnection, stream_id: int) -> None:
        self.connection = connection
        self.id = stream_id
        self.released = False
        self.may_share = False
        self.nested: NestedCalls | None = None
        self.task: asyncio.Task[None] | None = None
        self._receiving = False
        self._inbox: Inbox | None = None
        self._window: SendWindow | None = None

    def body(self) -> AsyncIterator[Message]:
        """Return the messages that follow the call's first."""
        self._receiving = True
        self._inbox = Inbox(self._grant, lambda: None)
        return self._inbox

    def accepted(self, task: asyncio.Task[None]) -> None:
        """Set the task of the accepted call, and grant credit for the rest of its body."""
        self.task = task
        if self._inbox is not None and not task.done():
            self._grant(WINDOW_BYTES)

    def reply(self, reply: Reply) -> None:
        """Send a reply of one message."""
        if self.connection.finish(self):
            if self.may_share and self.connection.share(self.id, reply.payload):
                return
            try:
                self.connection.send_message(Kind.RESPONSE, FINAL, self.id, reply.payload)
            except ConfigError as error:
                self.connection.send_message(Kind.ERROR, FINAL, self.id, (encode_error(error),))

    async def reply_streaming(self, reply: Reply) -> None:
        """Send a streaming reply, as fast as the caller reads."""
        assert reply.rest is not None
        self._window = SendWindow()
        self.connection.send_message(Kind.RESPONSE, 0, self.id, reply.payload)
        await ReplyWriter(self.connection, self.id, reply.rest, self._window).run()

    def end(self) -> None:
        """End a streaming reply."""
        if self.connection.finish(self):
            self.connection.send(Kind.END, FINAL, self.id)

    def fail(self, error: BaseException) -> None:
        """Send an error in place of the reply, or of its rest."""
        if self.connection.finish(self):
            self.connection.interrupt(self.id)
            try:
                self.connection.send_message(Kind.ERROR, FINAL, self.id, (encode_error(error),))
            except ConfigError:
                # The exception is longer than a message may be.
                summary = encode_error(error, brief=True)
                self.connection.send_message(Kind.ERROR, FINAL, self.id, (summary,))

    @property
    def state(self) -> ReplicaStreamState:
        """The state of the call, before `OVER`."""
        return _RECEIVING if self._receiving else _RECEIVED

    def received(self, frame: Frame) -> None:
        """Handle a frame of this call.

        Raises:
            FrameError: The frame is not allowed in the state of the call.
        """
        state = self.state
        transition = TRANSITIONS[state].get(frame.kind)
        if transition is None:
            raise FrameError(f"a frame of kind {frame.kind} for a call that is {state.name}")
        transition(self, frame)

    def cancel(self) -> None:
        """Cancel the call, because its caller has cancelled or disconnected."""
        self.connection.finish(self)
        if self._inbox is not None:
            self._inbox.fail(asyncio.CancelledError())
        if self.task is not None:
            self.task.cancel()
        if self.nested is not None:
            # At once: the handler may end late, or run in a thread, which cannot be cancelled.
            self.nested.cancel()

    def _grant(self, size: int) -> None:
        self.connection.send(Kind.CREDIT, 0, self.id, write_credit(size))

    # --- transitions --------------------------------------------------------------------

    def _message(self, frame: Frame) -> None:
        assert self._inbox is not None
        self._inbox.put(frame.payload)
        if frame.flags & FINAL:
            self._ended(frame)

    def _ended(self, frame: Frame) -> None:
        assert self._inbox is not None
        self._receiving = False
        self._inbox.end()

    def _credited(self, frame: Frame) -> None:
        if self._window is None:
            raise FrameError("a credit for a reply that has not begun")
        self._window.grant(read_credit(frame.payload))

    def _cancelled(self, frame: Frame) -> None:
        self.cancel()

    def _late(self, frame: Frame) -> None:
        """Ignore a frame that crossed with the end of the call."""


_Transition = Callable[[ReplicaStream, Frame], None]

TRANSITIONS: Mapping[ReplicaStreamState, Mapping[int, _Transition]] = {
    _RECEIVING: {
        Kind.DATA: ReplicaStream._message,
        Kind.END: ReplicaStream._ended,
        Kind.CREDIT: ReplicaStream._credited,
        Kind.CANCEL: ReplicaStream._cancelled,
    },
    _RECEIVED: {
        Kind.CREDIT: ReplicaStream._credited,
        Kind.CANCEL: ReplicaStream._cancelled,
    },
    _OVER: dict.fromkeys((Kind.DATA, Kind.END, Kind.CREDIT, Kind.CANCEL), ReplicaStream._late),
}
"""The handler of each frame in each state; any other frame closes the connection.

A REQUEST begins a call and belongs to no state: on a stream in use it closes the connection.
"""
