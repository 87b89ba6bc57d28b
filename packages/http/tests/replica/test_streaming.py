"""Streamed requests and responses, and disconnects during them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from alacarte import serve

from .. import gates


@serve.deployment(max_ongoing_requests=4)
class Streams:
    """A handler that responds by path."""

    def __init__(self) -> None:
        self.produced = 0

    async def __call__(self, request: Request) -> Any:
        path = request.url.path
        if path == "/produced":
            return self.produced
        if path == "/upload":
            return await self.read(request)
        if path == "/echo":
            return StreamingResponse(request.stream())
        if path == "/background":
            task = BackgroundTask(gates.GATE.note, "ran")
            return StreamingResponse(iter([b"a", b"b"]), background=task)
        if path == "/wrong-length":
            return StreamingResponse(iter([b"abc"]), headers={"Content-Length": "10"})
        if path == "/with-length":
            return StreamingResponse(iter([b"abc", b"def"]), headers={"Content-Length": "6"})
        if path == "/own-asgi":
            return Own()
        if path == "/never":
            await asyncio.Event().wait()
        return StreamingResponse(
            getattr(self, path.removeprefix("/").replace("-", "_"))(),
            media_type="text/event-stream",
            headers={"X-Own": "yes"},
        )

    async def read(self, request: Request) -> list[int]:
        sizes = []
        async for piece in request.stream():
            if piece:
                sizes.append(len(piece))
                gates.GATE.note(bytes(piece))
        return sizes

    async def gated(self) -> AsyncIterator[bytes]:
        yield b"before"
        await gates.GATE.pass_async()
        yield b"after"

    def gated_sync(self) -> Iterator[str]:
        yield "before"
        gates.GATE.pass_sync()
        yield "after"

    async def empty(self) -> AsyncIterator[bytes]:
        for _ in ():
            yield b""

    async def blanks(self) -> AsyncIterator[bytes]:
        for piece in (b"", b"a", b"", b"b", b""):
            yield piece

    async def endless(self) -> AsyncIterator[bytes]:
        gates.GATE.inside.release()
        try:
            while True:
                self.produced += 1
                yield bytes(1 << 20)
        finally:
            gates.GATE.note("closed")

    def endless_sync(self) -> Iterator[bytes]:
        gates.GATE.inside.release()
        try:
            while True:
                yield bytes(1 << 20)
        finally:
            gates.GATE.note("closed")

    async def silent(self) -> AsyncIterator[bytes]:
        try:
            await gates.GATE.wait_cancelled()
            yield b"never"
        finally:
            gates.GATE.note("closed")

    async def closing_badly(self) -> AsyncIterator[bytes]:
        gates.GATE.inside.release()
        try:
            while True:
                yield bytes(1 << 20)
        finally:
            gates.GATE.note("closed")
            raise ValueError("of its finally")

    async def stuck(self) -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await gates.GATE.wait_cancelled()
        finally:
            gates.GATE.note("closed")

    async def late(self) -> AsyncIterator[bytes]:
        await gates.GATE.pass_async()
        yield b"late"

    def late_sync(self) -> Iterator[bytes]:
        gates.GATE.pass_sync()
        yield b"late"

    async def failing(self) -> AsyncIterator[bytes]:
        yield b"before"
        await gates.GATE.pass_async()
        raise ValueError("secret reason")

    async def failing_at_once(self) -> AsyncIterator[bytes]:
        raise ValueError("secret reason")
        yield b""

    async def many(self) -> AsyncIterator[bytes]:
        for i in range(2000):
            yield b"%d\n" % i


class Own(Response):
    """A response with an ASGI application of its own."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 203, "headers": [(b"x-own", b"1")]})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await send({"type": "http.response.body"})


@pytest.fixture
def streams(site):
    site.run(Streams.bind())
    return site


# --- responses --------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/gated", "/gated-sync"])
def test_pieces_arrive_as_they_are_produced(streams, gate, path):
    """A part arrives before the generator has produced the next."""
    with streams.wire() as wire:
        wire.ask(path)
        head = wire.head()
        assert head["transfer-encoding"] == "chunked"
        assert head["x-own"] == "yes"
        assert head["content-type"].startswith("text/event-stream")
        assert len(head.all("x-request-id")) == 1
        assert wire.chunk() == b"before"
        gate.entered()
        gate.open.set()
        assert wire.chunk() == b"after"
        assert wire.chunk() == b""
        wire.ask("/produced")
        assert wire.answer().status == 200


@pytest.mark.parametrize("path", ["/late", "/late-sync"])
def test_the_head_arrives_before_the_first_piece(start, gate, path):
    """The head arrives before the first part, and ends the request's timeout."""
    site = start(request_timeout_s=1)
    site.run(Streams.bind())
    with site.wire() as wire, site.wire() as other:
        wire.ask(path)
        assert wire.head()["x-own"] == "yes"
        gate.entered()
        other.ask("/never")
        assert other.answer().status == 504  # a second has passed
        gate.open.set()
        assert wire.chunk() == b"late"
        assert wire.chunk() == b""


def test_many_pieces(streams):
    """Many parts arrive in order."""
    with streams.http.stream("GET", "/many") as answer:
        assert list(answer.iter_lines()) == [str(i) for i in range(2000)]


@pytest.mark.parametrize(("path", "body"), [("/empty", b""), ("/blanks", b"ab")])
def test_empty_pieces(streams, path, body):
    """Empty parts do not end the response as an empty chunk would."""
    with streams.wire() as wire:
        wire.ask(path)
        assert wire.answer().body == body
        wire.ask("/produced")
        assert wire.answer().status == 200


def test_a_stream_with_a_length(streams):
    """A stream with a length is sent with it, not in chunks."""
    with streams.wire() as wire:
        wire.ask("/with-length")
        answer = wire.answer()
    assert (answer["content-length"], answer.body) == ("6", b"abcdef")
    assert not answer.all("transfer-encoding")


def test_a_response_of_the_users_own(streams):
    """A subclass of Starlette's Response is run unchanged."""
    answer = streams.http.get("/own-asgi")
    assert (answer.status_code, answer.headers["x-own"], answer.text) == (203, "1", "a")


def test_head_of_a_stream(streams):
    """HEAD of a stream has no body, and the next request is served."""
    with streams.wire() as wire:
        wire.ask("/many", "HEAD")
        assert wire.answer("HEAD").status == 200
        wire.ask("/produced")
        assert wire.answer().body == b"0"


def test_a_slow_reader_holds_the_producer_back(streams, gate):
    """A slow reader slows the producer down, and other requests are served."""
    with streams.wire(receive_buffer=1 << 16) as wire:
        wire.ask("/endless")
        wire.head()
        gate.entered()
        counts = [int(streams.http.get("/produced").text) for _ in range(150)]
    # Windows of 1 MiB, buffers of both sockets, and one piece in each hand.
    assert counts[-1] <= 24
    assert gate.next_note() == "closed"


def test_the_background_task_of_a_stream(streams, gate):
    """A stream's background task runs after the last part."""
    assert streams.http.get("/background").content == b"ab"
    assert gate.next_note() == "ran"


# --- failures and disconnects -----------------------------------------------------------


def test_an_exception_midway(streams, gate, caplog):
    """An exception midway truncates the response visibly, and the log has the reason."""
    with streams.wire() as wire:
        wire.ask("/failing")
        wire.head()
        assert wire.chunk() == b"before"
        gate.entered()
        gate.open.set()
        assert wire.rest() == b""
    assert "secret reason" in caplog.text
    gate.open.set()
    with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
        streams.http.get("/failing")


def test_an_exception_before_the_first_piece(streams):
    """An exception before the first part is a 500."""
    answer = streams.http.get("/failing-at-once")
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")


def test_less_than_was_promised(streams):
    """A stream shorter than its Content-Length closes the connection."""
    with streams.wire() as wire:
        wire.ask("/wrong-length")
        assert wire.head()["content-length"] == "10"
        assert wire.rest() == b"abc"
    assert streams.http.get("/produced").status_code == 200


@pytest.mark.parametrize("path", ["/endless", "/endless-sync", "/closing-badly"])
def test_a_client_that_hangs_up(streams, gate, path):
    """A disconnect closes a generator that waits for the client."""
    with streams.wire() as wire:
        wire.ask(path)
        wire.head()
        gate.entered()
    assert gate.next_note() == "closed"
    assert streams.http.get("/produced").status_code == 200


@pytest.mark.parametrize("path", ["/stuck", "/silent"])
def test_a_client_that_hangs_up_while_nothing_comes(streams, gate, path):
    """A disconnect cancels a generator that waits, before or after its first part."""
    with streams.wire() as wire:
        wire.ask(path)
        gate.entered()
    assert [gate.next_note(), gate.next_note()] == ["cancelled", "closed"]
    assert streams.http.get("/produced").status_code == 200


def test_clients_that_hang_up_free_their_slots(streams, gate):
    """After any number of disconnects, the deployment still takes requests."""
    for _ in range(3):
        wires = [streams.wire() for _ in range(4)]
        for wire in wires:
            wire.ask("/endless")
            gate.entered()
        for wire in wires:
            wire.close()
        assert [gate.next_note() for _ in wires] == ["closed"] * 4
    assert streams.http.get("/produced").status_code == 200


# --- requests ---------------------------------------------------------------------------


def test_an_upload_arrives_piece_by_piece(streams, gate):
    """A handler reads a part of an upload before the client sends the next."""
    with streams.wire() as wire:
        wire.ask("/upload", "POST", "Transfer-Encoding: chunked")
        for piece in (b"one", b"two", b"three"):
            wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            assert gate.next_note() == piece
        wire.send(b"0\r\n\r\n")
        assert wire.answer().body == b"[3,3,5]"


def test_both_ways_at_once(streams):
    """A handler can stream its response while it reads the upload."""
    with streams.wire() as wire:
        wire.ask("/echo", "POST", "Transfer-Encoding: chunked")
        wire.send(b"3\r\none\r\n")
        wire.head()
        assert wire.chunk() == b"one"
        wire.send(b"3\r\ntwo\r\n")
        assert wire.chunk() == b"two"
        wire.send(b"0\r\n\r\n")
        assert wire.chunk() == b""


def test_a_client_that_hangs_up_in_the_middle_of_its_upload(streams, gate):
    """An incomplete upload cancels the handler and never looks complete."""
    reading = threading.Event()
    with streams.wire() as wire:
        wire.ask("/upload", "POST", "Content-Length: 1000")
        wire.send(b"part")
        assert gate.next_note() == b"part"
        reading.set()
    assert streams.http.get("/produced").status_code == 200
    assert gate.notes() == []


async def test_an_unread_upload(streams):
    """A handler that ignores a large body can respond."""
    async with httpx.AsyncClient(base_url=streams.url, trust_env=False, timeout=20) as client:
        answers = await asyncio.gather(
            *[client.post("/produced", content=bytes(3_000_000)) for _ in range(4)]
        )
    assert [answer.status_code for answer in answers] == [200] * 4
