"""Flow control of one stream: the receiver's inbox and the sender's window.

The receiver grants a window in bytes. Every message uses its size plus an overhead, so that a flood
of empty messages is bounded, too. The receiver grants credit again whenever its consumer has taken
half a window. One message may exceed the window, so a message of any size can pass.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from struct import Struct
from struct import error as StructError

from ..types import Buffer, Message
from .frames import FrameError

__all__ = ["WINDOW_BYTES", "Inbox", "SendWindow", "cost", "read_credit", "write_credit"]

WINDOW_BYTES = 1 << 20
_CREDIT = Struct("<I")
_OVERHEAD_BYTES = 64
_JOIN_BYTES = 1 << 16
"""Total size of the short messages that are taken together."""


def cost(size: int) -> int:
    """Return how much of a window a message of `size` bytes uses."""
    return size + _OVERHEAD_BYTES


def write_credit(size: int) -> bytes:
    """Return the payload of a CREDIT frame."""
    return _CREDIT.pack(size)


def read_credit(payload: Buffer) -> int:
    """Return the bytes that a CREDIT frame grants.

    Raises:
        FrameError: The payload is not a credit.
    """
    try:
        (size,) = _CREDIT.unpack(payload)
    except StructError:
        raise FrameError(f"a credit in {len(payload)} bytes") from None
    return int(size)


class Inbox:
    """Messages that arrived on a stream, read in order by one consumer on the same loop.

    Async iteration yields each message as a one-piece `Message`, and ends with the stream or with
    the error given to `fail`.

    Args:
        grant: Sends the peer a CREDIT of so many bytes.
        closed: Called once if the consumer stops before the end.
        arrived: List to which an inbox with messages for its sink adds itself; the caller of `put`
            calls `deliver` of each inbox in the list at the end of a read.
    """

    __slots__ = (
        "_arrived",
        "_closed",
        "_ended",
        "_error",
        "_grant",
        "_messages",
        "_sink",
        "_uncredited",
        "_waiter",
    )  # fmt: skip

    def __init__(
        self,
        grant: Callable[[int], None],
        closed: Callable[[], None],
        arrived: list[Inbox] | None = None,
    ) -> None:
        self._messages: deque[Buffer] = deque()
        self._arrived = [] if arrived is None else arrived
        self._sink: Callable[[Buffer], bool] | None = None
        self._grant = grant
        self._closed: Callable[[], None] | None = closed
        self._uncredited = 0
        self._ended = False
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[bool] | None = None

    def put(self, message: Buffer) -> None:
        self._messages.append(message)
        if self._sink is None:
            self._wake()
        elif len(self._messages) == 1:
            self._arrived.append(self)

    def end(self) -> None:
        """End the stream after the messages that have arrived."""
        self._ended = True
        self._wake()

    def fail(self, error: BaseException) -> None:
        """End the inbox with an error, which the consumer gets after the arrived messages."""
        self._error = error
        self._ended = True
        self._wake()

    def __aiter__(self) -> Inbox:
        return self

    async def __anext__(self) -> Message:
        while not self._messages:
            if self._ended:
                self._closed = None
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return (self._take(),)

    async def pass_on(self, sink: Callable[[Buffer], bool]) -> bool:
        """Pass messages to `sink` as they arrive; see `PushedMessages`."""
        while self._push(sink):
            if self._ended:
                self._closed = None
                if self._error is not None:
                    raise self._error
                return False
            self._waiter = asyncio.get_running_loop().create_future()
            self._sink = sink
            try:
                if await self._waiter:
                    break
            finally:
                self._waiter = self._sink = None
        return True

    def deliver(self) -> None:
        """Pass the arrived messages to the sink; wake `pass_on` when the sink takes no more."""
        if self._sink is None or self._waiter is None or self._waiter.done():
            return
        try:
            if not self._push(self._sink):
                self._waiter.set_result(True)
        except Exception as error:  # raised by `pass_on`
            self._waiter.set_exception(error)

    def _push(self, sink: Callable[[Buffer], bool]) -> bool:
        """Pass messages to the sink; return whether the sink takes more."""
        messages = self._messages
        while messages:
            message = self._take()
            if messages and len(message) < _JOIN_BYTES:
                message = b"".join((message, *self.ready(_JOIN_BYTES - len(message))))
            if not sink(message):
                return False
        return True

    def ready(self, max_bytes: int = _JOIN_BYTES) -> list[Buffer]:
        """Return the messages that have arrived, without waiting; perhaps none.

        Taking messages grants the peer credit for more, so a consumer takes only as many messages
        as it handles at once.

        Args:
            max_bytes: Upper bound on the total cost of the messages.
        """
        messages: list[Buffer] = []
        while self._messages:
            max_bytes -= cost(len(self._messages[0]))
            if max_bytes < 0:
                break
            messages.append(self._take())
        return messages

    async def aclose(self) -> None:
        """Stop reading, and call `closed` unless the stream has ended."""
        self._messages.clear()
        if self._closed is not None and not self._ended:
            self._closed()
        self._closed = None
        self._ended = True
        self._wake()

    def _take(self) -> Buffer:
        message = self._messages.popleft()
        self._uncredited += len(message) + _OVERHEAD_BYTES
        if self._uncredited >= WINDOW_BYTES // 2 and not self._ended:
            owed, self._uncredited = self._uncredited, 0
            self._grant(owed)
        return message

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(False)


class SendWindow:
    """The sender's window of a stream, in bytes.

    Attributes:
        was_granted: The receiver has sent credit.
    """

    __slots__ = ("_left", "_waiter", "was_granted")

    def __init__(self, size: int = WINDOW_BYTES) -> None:
        self.was_granted = False
        self._left = size
        self._waiter: asyncio.Future[None] | None = None

    @property
    def open(self) -> bool:
        return self._left > 0

    def use(self, size: int) -> None:
        """Take the cost of a message of this size from the window."""
        self._left -= cost(size)

    def grant(self, size: int) -> None:
        """Widen the window by credit from the receiver, in bytes."""
        self.was_granted = True
        self._left += size
        if self._left > 0 and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Wait until the window is open."""
        while self._left <= 0:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
