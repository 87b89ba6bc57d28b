"""The ASGI `receive` of one request: its body, then the client's disconnect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.types import Message as ASGIMessage

from alacarte.types import Message

__all__ = ["ReceivedBody"]

_DISCONNECT = {"type": "http.disconnect"}


class ReceivedBody:
    """Yields the body of one request, then `http.disconnect` once the request is over.

    Args:
        first: The part of the body that came with the head.
        rest: Further parts, None if `first` is the whole body.

    Attributes:
        yields_bytes: Parts are `bytes`, as ASGI requires; else memory views, for a reader that
            joins them.
        num_waiting: Number of callers that await `http.disconnect`.
    """

    __slots__ = ("_end_waiter", "_first", "_is_over", "_rest", "num_waiting", "yields_bytes")

    def __init__(self, first: memoryview, rest: AsyncIterator[Message] | None) -> None:
        self._first: memoryview | None = first
        self._rest = rest
        self._is_over = False
        self._end_waiter: asyncio.Future[None] | None = None
        self.yields_bytes = True
        self.num_waiting = 0

    def take_whole(self) -> bytes | None:
        """Return the whole body if no part was read and no part follows, else None."""
        if self._is_over or self._rest is not None or self._first is None:
            return None
        body, self._first = bytes(self._first), None
        return body

    async def __call__(self) -> ASGIMessage:
        if self._is_over:
            return dict(_DISCONNECT)
        if self._first is not None:
            first, self._first = self._first, None
            body = bytes(first) if self.yields_bytes else first
            return {"type": "http.request", "body": body, "more_body": self._rest is not None}
        if self._rest is not None:
            try:
                message = await anext(self._rest)
            except StopAsyncIteration:
                self._rest = None
                return {"type": "http.request", "body": b"", "more_body": False}
            part = bytes(message[0]) if self.yields_bytes else message[0]
            return {"type": "http.request", "body": part, "more_body": True}
        if self._end_waiter is None:
            self._end_waiter = asyncio.get_running_loop().create_future()
        self.num_waiting += 1
        try:
            await asyncio.shield(self._end_waiter)
        finally:
            self.num_waiting -= 1
        return dict(_DISCONNECT)

    def end(self) -> None:
        """End the request: its response is complete, or the client has disconnected."""
        self._is_over = True
        if self._end_waiter is not None and not self._end_waiter.done():
            self._end_waiter.set_result(None)
