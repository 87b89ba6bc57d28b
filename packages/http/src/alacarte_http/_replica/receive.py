"""The `receive` of one request: its body as it arrives, then word of the client's leaving."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from alacarte.types import Message

__all__ = ["ReceivedBody"]

_DISCONNECT = {"type": "http.disconnect"}


class ReceivedBody:
    """The body of one request, then silence until the request is over.

    Attributes:
        copies: Parts of the body are `bytes`, as ASGI says; else views, for who joins them.
        waiting: Somebody waits to hear that the client is gone.
    """

    __slots__ = ("_first", "_over", "_rest", "_wake", "copies", "waiting")

    def __init__(self, first: memoryview, rest: AsyncIterator[Message] | None) -> None:
        self._first: memoryview | None = first
        self._rest = rest
        self._over = False
        self._wake: asyncio.Future[None] | None = None
        self.copies = True
        self.waiting = 0

    def take_whole(self) -> bytes | None:
        """Return all of the body where nothing has been taken and nothing follows, else None."""
        if self._over or self._rest is not None or self._first is None:
            return None
        body, self._first = bytes(self._first), None
        return body

    async def __call__(self) -> dict[str, Any]:
        if self._over:
            return dict(_DISCONNECT)
        if self._first is not None:
            first, self._first = self._first, None
            body = bytes(first) if self.copies else first
            return {"type": "http.request", "body": body, "more_body": self._rest is not None}
        if self._rest is not None:
            try:
                message = await anext(self._rest)
            except StopAsyncIteration:
                self._rest = None
                return {"type": "http.request", "body": b"", "more_body": False}
            part = bytes(message[0]) if self.copies else message[0]
            return {"type": "http.request", "body": part, "more_body": True}
        if self._wake is None:
            self._wake = asyncio.get_running_loop().create_future()
        self.waiting += 1
        try:
            await asyncio.shield(self._wake)
        finally:
            self.waiting -= 1
        return dict(_DISCONNECT)

    def end(self) -> None:
        """The response is complete, or the client is gone: there is nothing more to come."""
        self._over = True
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
