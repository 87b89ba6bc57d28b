"""A streamed reply on its way to the client: parts that have arrived together leave together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from alacarte.types import Buffer, Message, Reply
from alacarte_http._edge.exchange import SMALL_BYTES
from alacarte_http._message import pack_response
from alacarte_http._proxy.forwarding import Forwarding


class Exchange:
    """Notes what is written."""

    response_complete = False

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.ended = False

    async def start(self, head: Any, extra: bytes) -> None:
        assert head.status == 200

    async def write(self, data: Buffer) -> None:
        self.writes.append(bytes(data))

    async def end(self) -> None:
        self.ended = True


class Arrived:
    """The rest of a reply, whose parts arrive in groups.

    Attributes:
        taken: Bytes that have been taken.
    """

    def __init__(self, *groups: list[bytes]) -> None:
        self.taken = 0
        self._groups = list(groups)
        self._here: list[bytes] = []

    def ready(self, max_bytes: int) -> list[bytes]:
        taken = []
        while self._here and len(self._here[0]) <= max_bytes:
            max_bytes -= len(self._here[0])
            taken.append(self._take())
        return taken

    def __aiter__(self) -> Arrived:
        return self

    async def __anext__(self) -> Message:
        if not self._here:
            if not self._groups:
                raise StopAsyncIteration
            self._here = self._groups.pop(0)
        return (self._take(),)

    def _take(self) -> bytes:
        part = self._here.pop(0)
        self.taken += len(part)
        return part


def forward(rest: Any, exchange: Any = None) -> list[bytes]:
    """Return what a client is sent of the rest of a reply, write by write."""
    exchange = exchange or Exchange()
    nothing: Any = None
    forwarding = Forwarding(
        exchange, nothing, nothing, "id", nothing, lambda done, status: None, 0.0
    )
    asyncio.run(forwarding._stream(Reply((pack_response(200, ()),), rest), rest))
    assert exchange.ended
    return exchange.writes  # type: ignore[no-any-return]


def test_parts_that_are_here_leave_in_one_write():
    """Each group by itself, as nothing waits for the next."""
    assert forward(Arrived([b"a", b"b", b"c"], [b"d"], [b"e", b"f"])) == [b"abc", b"d", b"ef"]


@pytest.mark.parametrize(("size", "writes"), [(SMALL_BYTES - 1, 1), (SMALL_BYTES, 2)])
def test_long_parts_are_not_copied_together(size, writes):
    """Joining them would cost more than a write."""
    found = forward(Arrived([b"a", b"b" * size]))
    assert len(found) == writes
    assert b"".join(found) == b"a" + b"b" * size


@pytest.mark.parametrize("size", [1, 1000, SMALL_BYTES // 2, SMALL_BYTES])
def test_no_more_is_taken_than_one_write_carries(size):
    """What a slow client has not been sent yet stays where it counts against the window."""

    class Slow(Exchange):
        async def write(self, data: Buffer) -> None:
            ahead.append(rest.taken - sum(map(len, self.writes)))
            await super().write(data)

    ahead: list[int] = []
    rest = Arrived([b"a" * size] * (4 * SMALL_BYTES // size))
    assert b"".join(forward(rest, Slow())) == b"a" * (4 * SMALL_BYTES // size * size)
    assert max(ahead) <= SMALL_BYTES


def test_a_rest_that_cannot_tell():
    """A plugin's layer may give a generator."""

    async def parts() -> AsyncIterator[Message]:
        yield (b"a",)
        yield (b"b",)

    assert forward(parts()) == [b"a", b"b"]
