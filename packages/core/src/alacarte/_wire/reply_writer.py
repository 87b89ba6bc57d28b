"""The writer of a stream's messages: one DATA frame for each, within the peer's window.

Messages are awaited one by one. Of a source with `ReadyMessages`, the messages that get ready in
one iteration of the event loop are taken together at its end and leave in one frame, without waking
a task.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, cast

from ..types import Message, ReadyMessages
from .flow import SendWindow
from .frames import Kind

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["ReplyWriter"]

_BURST = 64
"""Messages of one stream that are sent before the loop runs other callbacks."""
_DATA = int(Kind.DATA)


class ReplyWriter:
    """Writes the messages of one stream to a connection.

    Args:
        connection: The connection of the stream.
        stream: Number of the stream.
        messages: The messages, awaited only while the window is open.
        window: The peer's window.
    """

    __slots__ = ("_connection", "_error", "_messages", "_ready", "_stream", "_task", "_window")

    def __init__(
        self,
        connection: Connection,
        stream: int,
        messages: AsyncIterator[Message],
        window: SendWindow,
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._messages = messages
        self._window = window
        self._error: Exception | None = None
        self._task: asyncio.Task[object] | None = None
        self._ready: ReadyMessages | None = None
        if hasattr(messages, "take_ready"):
            self._ready = cast(ReadyMessages, messages)

    async def run(self) -> None:
        """Send every message.

        Raises:
            ConfigError: A message is longer than `ClusterOptions.max_message_bytes`.
            Exception: The source of the messages failed.
        """
        await self._connection.wait_sent(self._stream)
        ready = self._ready
        if ready is None:
            await self._run()
            return
        send_soon, send_ready = self._connection.send_soon, self._send_ready
        self._task = task = asyncio.current_task()
        assert task is not None
        cancellations = task.cancelling()
        ready.on_ready = lambda: send_soon(send_ready)
        try:
            await self._run()
        except asyncio.CancelledError:
            # `_fail` cancels the wait for the next message; the task may be cancelled as well.
            if self._error is None or task.uncancel() > cancellations:
                raise
            raise self._error from None
        finally:
            ready.on_ready = None
            self._ready = None

    async def _run(self) -> None:
        connection, stream, messages, window = (
            self._connection,
            self._stream,
            self._messages,
            self._window,
        )
        burst = 0
        while True:
            if not window.open:
                await window.wait()
                burst = 0
            try:
                message = await anext(messages)
            except Exception as end:
                await connection.wait_sent(stream)  # the end follows the messages that were ready
                if isinstance(end, StopAsyncIteration):
                    return
                raise
            if not window.open:  # used up meanwhile by messages that were ready
                await window.wait()
            await connection.wait_sent(stream)  # likewise
            await connection.wait_writable()
            window.use(connection.send_message(_DATA, 0, stream, message))
            await connection.wait_sent(stream)
            burst += 1
            if burst == _BURST:
                burst = 0
                await asyncio.sleep(0)

    def _send_ready(self) -> None:
        """Send the messages that are ready; without room for them, wake the waiting source."""
        ready = self._ready
        if ready is None:
            return
        try:
            if not self._window.open or self._connection.is_busy(self._stream):
                ready.wake()
                return
            message = ready.take_ready()
            if message is not None:
                self._window.use(self._connection.send_message(_DATA, 0, self._stream, message))
        except Exception as error:  # a message too long, or a failure of the source
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """Stop sending, and have `run` raise the error."""
        assert self._task is not None
        self._error = error
        self._ready = None
        self._task.cancel()
