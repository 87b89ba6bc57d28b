"""Forwarding of a streamed reply, whose parts are written as they arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from alacarte.types import Buffer, Message, Reply
from alacarte_http._head_codec import pack_response
from alacarte_http._proxy.forwarding import Forwarding


class Exchange:
    """A stand-in that records writes.

    Args:
        room: Writes until the client has to read first.
    """

    response_complete = False

    def __init__(self, room: int = 100) -> None:
        self.writes: list[bytes] = []
        self.drained = 0
        self.ended = False
        self._room = self._left = room

    async def start(self, head: Any, extra: bytes) -> None:
        assert head.status == 200

    async def write(self, data: Buffer) -> None:
        self.writes.append(bytes(data))

    def write_now(self, data: Buffer) -> bool:
        assert self._left, "the client has no room"
        self.writes.append(bytes(data))
        self._left -= 1
        return self._left > 0

    async def drain(self) -> None:
        self.drained += 1
        self._left = self._room

    async def end(self) -> None:
        self.ended = True


class Pushed:
    """The rest of a reply, a `PushedMessages`."""

    def __init__(self, *parts: bytes) -> None:
        self._parts = list(parts)

    async def pass_on(self, sink: Callable[[Buffer], bool]) -> bool:
        while self._parts:
            if not sink(self._parts.pop(0)):
                return True
        return False


def forward(rest: Any, exchange: Any = None) -> list[bytes]:
    """Return the writes to a client for the rest of a reply."""
    exchange = exchange or Exchange()
    nothing: Any = None
    forwarding = Forwarding(
        exchange, nothing, nothing, "id", nothing, lambda done, status: None, 0.0
    )
    asyncio.run(forwarding._stream(Reply((pack_response(200, ()),), rest), rest))
    assert exchange.ended
    return exchange.writes  # type: ignore[no-any-return]


def test_parts_are_written_as_they_arrive():
    """Parts are written without waking a task for each."""
    assert forward(Pushed(b"a", b"b", b"c")) == [b"a", b"b", b"c"]


def test_a_client_that_does_not_read_is_waited_for():
    """While the client does not read, no part is written."""
    exchange = Exchange(room=2)
    assert forward(Pushed(b"a", b"b", b"c", b"d", b"e"), exchange) == [b"a", b"b", b"c", b"d", b"e"]
    assert exchange.drained == 2


def test_the_rest_of_a_layer():
    """The rest of a response may be a layer's generator."""

    async def parts() -> AsyncIterator[Message]:
        yield (b"a",)
        yield (b"b",)

    assert forward(parts()) == [b"a", b"b"]
