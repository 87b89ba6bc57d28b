"""One call in its replica: what has come of its body, and where its reply goes.

`TRANSITIONS` says what each frame means in each state, as in `call_stream`; what it does not hold
closes the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from enum import IntEnum, auto
from typing import Any

from ..errors import ConfigError
from ..types import Message, NestedCalls, Reply
from .connection import Connection
from .error_codec import encode_error
from .flow import WINDOW_BYTES, Inbox, SendWindow, read_credit, write_credit
from .frames import FINAL, Frame, FrameError, Kind
from .reply_writer import ReplyWriter

__all__ = ["TRANSITIONS", "ReplicaStreamState", "ReplicaStream", "ServingConnection"]


class ReplicaStreamState(IntEnum):
    """How far a call has come, as its replica sees it."""

    RECEIVING = auto()
    """More of its body follows."""
    RECEIVED = auto()
    """The caller has sent all of it."""
    OVER = auto()
    """It has been answered or given up. What its caller sent before it knew may still arrive."""


_RECEIVING, _RECEIVED, _OVER = ReplicaStreamState


class ServingConnection(Connection):
    """A connection as the calls that came over it see it."""

    def finish(self, stream: ReplicaStream) -> bool:
        """Forget a stream; return whether its caller still waits."""
        raise NotImplementedError

    def share(self, stream_id: int, message: Message) -> bool:
        """Send a long reply as a segment that its caller maps; return False where it cannot be."""
        raise NotImplementedError


class ReplicaStream:
    """One call in a replica: where its reply goes.

    Attributes:
        released: The slot it took is free again.
        nested: What the call has called itself, once it runs.
        maps: Its reply may be in shared memory, if the caller can map that.
    """

    __slots__ = (
        "_inbox", "_receiving", "_window", "connection", "id", "maps", "nested", "released",
        "task",
    )  # fmt: skip

    def __init__(self, connection: ServingConnection, stream_id: int) -> None:
        self.connection = connection
        self.id = stream_id
        self.released = False
        self.maps = False
        self.nested: NestedCalls | None = None
        self.task: asyncio.Task[Any] | None = None
        self._receiving = False
        self._inbox: Inbox | None = None
        self._window: SendWindow | None = None

    def body(self) -> AsyncIterator[Message]:
        """Return the messages that follow the call's first."""
        self._receiving = True
        self._inbox = Inbox(self._grant, lambda: None)
        return self._inbox

    def accepted(self, task: asyncio.Task[Any]) -> None:
        """Take the task of the call, which has started, and let the rest of its body come."""
        self.task = task
        if self._inbox is not None and not task.done():
            self._grant(WINDOW_BYTES)

    def reply(self, reply: Reply) -> None:
        """Send a reply that is complete."""
        if self.connection.finish(self):
            if self.maps and self.connection.share(self.id, reply.payload):
                return
            try:
                self.connection.send_message(Kind.RESPONSE, FINAL, self.id, reply.payload)
            except ConfigError as error:
                self.connection.send_message(Kind.ERROR, FINAL, self.id, (encode_error(error),))

    async def reply_streaming(self, reply: Reply) -> None:
        """Send a reply and everything that follows, as fast as the caller reads."""
        assert reply.rest is not None
        self._window = SendWindow()
        self.connection.send_message(Kind.RESPONSE, 0, self.id, reply.payload)
        await ReplyWriter(self.connection, self.id, reply.rest, self._window).run()

    def end(self) -> None:
        """Say that the streaming reply is complete."""
        if self.connection.finish(self):
            self.connection.send(Kind.END, FINAL, self.id)

    def fail(self, error: BaseException) -> None:
        """Send an error in place of what has not been sent."""
        if self.connection.finish(self):
            self.connection.interrupt(self.id)
            try:
                self.connection.send_message(Kind.ERROR, FINAL, self.id, (encode_error(error),))
            except ConfigError:
                # The exception holds more than a message may: only its account is sent.
                account = encode_error(error, brief=True)
                self.connection.send_message(Kind.ERROR, FINAL, self.id, (account,))

    @property
    def state(self) -> ReplicaStreamState:
        """How far the call has come, while its connection knows it."""
        return _RECEIVING if self._receiving else _RECEIVED

    def received(self, frame: Frame) -> None:
        """Take a frame of this call.

        Raises:
            FrameError: No correct caller sends it in this state.
        """
        state = self.state
        transition = TRANSITIONS[state].get(frame.kind)
        if transition is None:
            raise FrameError(f"a frame of kind {frame.kind} for a call that is {state.name}")
        transition(self, frame)

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
        """It crossed with the end of the call."""


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
"""What a frame means in each state; anything absent closes the connection.

A REQUEST begins a call, so it belongs to no state: on a stream in use it closes the connection.
"""
