"""The request of a plain handler: Starlette's, with a lazy scope."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from alacarte_http._head_codec import pack_peer, pack_request
from alacarte_http._replica.lazy_request import LazyRequest
from alacarte_http._replica.received_body import ReceivedBody

HEAD = pack_request(
    "POST",
    b"/a%20b",
    b"q=1",
    "1.1",
    [(b"x-name", b"value")],
    root_path=b"/root",
    peer=pack_peer(False, ("127.0.0.1", 4), ("::1", 5)),
)


async def later(*parts: bytes) -> AsyncIterator[tuple[bytes]]:
    for part in parts:
        yield (part,)


def make(body: bytes = b"", rest: Any = None) -> tuple[LazyRequest, ReceivedBody]:
    receive = ReceivedBody(memoryview(body), rest)
    return LazyRequest(memoryview(HEAD), receive), receive


def test_it_is_a_starlette_request():
    """A lazy request has all attributes of a Starlette request."""
    request, _ = make()
    assert isinstance(request, Request)
    assert request.method == "POST"
    assert request.url.path == "/a b"
    assert request.query_params["q"] == "1"
    assert request.headers["x-name"] == "value"
    assert request.client == ("127.0.0.1", 4)
    assert request["raw_path"] == b"/a%20b"
    request.state.mine = 1
    assert request.scope["state"]["mine"] == 1
    assert request.scope is request.scope


def test_the_scope_can_be_replaced():
    """The scope can be replaced, as middleware does."""
    request, _ = make()
    request.scope = {"type": "http", "method": "GET"}
    assert request.method == "GET"


def test_a_copy_has_its_scope():
    """A copy has its scope, whether or not the original has decoded it."""
    request, _ = make()
    assert copy.copy(request).method == "POST"


def test_a_body_that_came_with_the_head_does_not_suspend():
    """A body that came with the head is read without suspending, repeatedly."""
    request, _ = make(b'{"a": 1}')
    reading = request.body()
    with pytest.raises(StopIteration) as found:
        reading.send(None)
    assert found.value.value == b'{"a": 1}'
    assert asyncio.run(request.json()) == {"a": 1}


async def read_all(request: Request) -> bytes:
    return b"".join([part async for part in request.stream()])


def test_a_body_that_follows_is_awaited():
    """Parts of a body are joined."""
    request, _ = make(b"one ", later(b"two ", b"three"))
    assert asyncio.run(request.body()) == b"one two three"


def test_parts_of_a_body_are_joined_as_they_are():
    """`body` joins views without copies; the parts of `stream` are bytes."""

    async def views() -> AsyncIterator[tuple[Any]]:
        yield (bytearray(b"cd"),)
        yield (memoryview(b"ef"),)

    async def main() -> None:
        request, receive = make(b"ab", views())
        body = await request.body()
        assert (type(body), body) == (bytes, b"abcdef")
        request, receive = make(b"ab", views())
        receive.yields_bytes = False
        assert type((await receive())["body"]) is memoryview
        assert type((await receive())["body"]) is bytearray
        request, receive = make(b"ab", views())
        assert {type(part) async for part in request.stream()} == {bytes}

    asyncio.run(main())


def test_a_body_that_breaks_off_leaves_bytes_to_who_reads_on():
    """After an incomplete body, further reads yield bytes again."""

    async def broken() -> AsyncIterator[tuple[bytearray]]:
        yield (bytearray(b"cd"),)
        raise ConnectionResetError

    async def main() -> None:
        request, receive = make(b"ab", broken())
        with pytest.raises(ConnectionResetError):
            await request.body()
        assert receive.yields_bytes

    asyncio.run(main())


def test_a_stream_after_the_body_gives_the_same():
    """`stream` after `body` yields the same bytes."""

    async def scenario() -> None:
        request, _ = make(b"all")
        assert await request.body() == b"all"
        assert await read_all(request) == b"all"

    asyncio.run(scenario())


def test_a_body_after_its_stream_is_an_error():
    """`body` after `stream` raises."""

    async def scenario() -> None:
        request, _ = make(b"all")
        assert await read_all(request) == b"all"
        with pytest.raises(RuntimeError, match="consumed"):
            await request.body()

    asyncio.run(scenario())


def test_a_body_whose_client_is_gone():
    """Reading the body of a disconnected client raises ClientDisconnect."""

    async def scenario() -> None:
        request, receive = make(b"all")
        receive.end()
        with pytest.raises(ClientDisconnect):
            await request.body()

    asyncio.run(scenario())
