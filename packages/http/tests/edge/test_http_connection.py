"""A client's connection: deadlines, limits, disconnects, and draining."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
import uvloop

from alacarte.testing import wait_until
from alacarte_http._edge import half_close
from alacarte_http._edge.edge import Edge
from alacarte_http._edge.edge_limits import edge_limits
from alacarte_http._edge.exchange import Exchange
from alacarte_http._edge.http_connection import HttpConnection
from alacarte_http._head_codec import ResponseHead
from alacarte_http.config import HTTPOptions

from ..gates import WAIT_S
from ..wire import Answer, Wire
from .server import EdgeServer

pytestmark = pytest.mark.once  # bytes on a socket, the same whatever Python answers

LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
SOON_S = 0.4


@pytest.fixture(params=list(LOOPS))
def serve_with(request: Any) -> Iterator[Any]:
    """A function that starts a server with options, on asyncio's loop or on uvloop."""
    servers: list[EdgeServer] = []

    def serve_with(**options: Any) -> EdgeServer:
        servers.append(EdgeServer(LOOPS[request.param], **options))
        return servers[-1]

    yield serve_with
    for server in servers:
        server.let_go()
        server.stop()


def final(wire: Wire) -> Answer:
    """Read interim responses, and return the final one."""
    while (answer := wire.answer()).status < 200:
        assert answer.status == 100
    return answer


def dribble(wire: Wire, piece: bytes) -> None:
    """Send bytes one by one until there is a response."""
    deadline = time.monotonic() + WAIT_S
    while not wire.readable(0.02):
        assert time.monotonic() < deadline
        wire.send(piece)


# --- deadlines


def test_a_silent_connection(serve_with):
    """A connection without a byte is closed without a response."""
    server = serve_with(receive_head_timeout_s=SOON_S)
    with server.wire() as wire:
        assert wire.rest() == b""
    server.wait_until_empty()


def test_a_dribbled_head(serve_with):
    """A head that does not end in time gets 408, even if the client keeps sending."""
    server = serve_with(receive_head_timeout_s=SOON_S)
    with server.wire() as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: x\r\n")
        dribble(wire, b"A: b\r\n")
        answer = wire.answer()
        assert (answer.status, answer["connection"]) == (408, "close")
        assert b"0.4 s" in answer.body
        assert wire.rest() == b""
    server.wait_until_empty()


@pytest.mark.parametrize(("limit", "size"), [(2 << 20, b"2 MiB"), (1000, b"1000 bytes")])
def test_a_body_that_is_too_long(serve_with, limit, size):
    """413 names the limit in a readable unit, and the option."""
    server = serve_with(max_body_bytes=limit)
    with server.wire() as wire:
        wire.ask("/upload", "POST", f"Content-Length: {limit + 1}")
        answer = final(wire)
        assert answer.status == 413
        assert answer.body == (
            b"The request's body has more than %b, the limit (http option max_body_bytes).\n" % size
        )


@pytest.mark.parametrize("framing", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
def test_a_body_that_stops(serve_with, framing):
    """A body that stops midway gets 408, and the request's handler is cancelled."""
    server = serve_with(receive_body_timeout_s=SOON_S)
    with server.wire() as wire:
        wire.ask("/", "POST", framing)
        wire.send(b"5\r\nabcde\r\n")
        assert wire.answer().status == 408
        assert server.cancelled.acquire(timeout=WAIT_S)
        assert wire.rest() == b""
    server.wait_until_empty()


def test_a_dribbled_body(serve_with):
    """A body that arrives at less than a kilobyte per second gets 408."""
    server = serve_with(receive_body_timeout_s=SOON_S)
    with server.wire() as wire:
        wire.ask("/", "POST", "Content-Length: 100000")
        dribble(wire, b"x")
        assert wire.answer().status == 408
        assert wire.rest() == b""


def test_a_body_dribbled_as_framing(serve_with):
    """Chunk extensions do not count as progress of a body."""
    server = serve_with(receive_body_timeout_s=SOON_S)
    with server.wire() as wire:
        wire.ask("/", "POST", "Transfer-Encoding: chunked")
        wire.send(b"5;")
        dribble(wire, b"a" * 50)
        assert wire.answer().status == 408


def test_an_upload_that_the_application_holds_back(serve_with):
    """Time in which the application does not read the body does not count."""
    server = serve_with(receive_body_timeout_s=SOON_S)
    body = b"x" * (8 << 20)
    with server.wire() as wire, server.wire() as clock:
        wire.ask("/upload", "POST", f"Content-Length: {len(body)}")
        assert server.entered.acquire(timeout=WAIT_S)
        sending = threading.Thread(target=wire.send, args=(body,))
        sending.start()
        for _ in range(3):
            with server.wire() as clock:  # the deadline passes for another, meanwhile
                clock.ask("/", "POST", "Content-Length: 5")
                assert clock.answer().status == 408
        server.let_go()
        assert wire.answer().body == b"/upload %d" % len(body)
        sending.join()


def test_an_expected_continue_that_is_late(serve_with):
    """A client without its 100 Continue misses no deadline."""
    server = serve_with(receive_body_timeout_s=SOON_S)
    with server.wire() as wire:
        wire.ask("/upload", "POST", "Expect: 100-continue", "Content-Length: 5")
        for _ in range(3):
            with server.wire() as clock:
                clock.ask("/", "POST", "Content-Length: 5")
                assert clock.answer().status == 408
        server.let_go()
        assert wire.answer().status == 100
        wire.send(b"hello")
        assert wire.answer().body == b"/upload 5"


def test_an_unread_response(serve_with):
    """A client that does not read its response is disconnected, and the memory is freed."""
    server = serve_with(send_timeout_s=SOON_S)
    with server.wire(receive_buffer=4096) as wire:
        wire.ask("/big")
        assert wire.hung_up()
    server.wait_until_empty()


def test_a_response_read_slowly(serve_with):
    """A client that reads slowly gets its whole response."""
    server = serve_with(send_timeout_s=2 * SOON_S)
    with server.wire(receive_buffer=65536) as wire:
        wire.ask("/big")
        wire.head()
        for _ in range(32):
            wire.take(1 << 20)
            wire.hung_up(0.05)  # a pause that is twice the timeout, in sum
        wire.ask("/")
        assert wire.answer().body == b"/ 0"


def test_an_idle_connection(serve_with):
    """A connection that is idle for the keep-alive timeout is closed without a response."""
    server = serve_with(keep_alive_timeout_s=SOON_S)
    with server.wire() as wire:
        wire.ask("/")
        wire.answer()
        assert wire.rest() == b""
    server.wait_until_empty()


# --- limits


def test_the_longest_idle_makes_room(serve_with):
    """A connection above the limit replaces the one that has been idle longest."""
    server = serve_with(max_connections=3)
    with server.wire() as first, server.wire() as second, server.wire() as third:
        for wire in (first, second, third, first):
            wire.ask("/")
            wire.answer()
        with server.wire() as fourth:
            fourth.ask("/")
            assert fourth.answer().status == 200
            assert second.rest() == b""
            for wire in (first, third, fourth):
                wire.ask("/")
                assert wire.answer().status == 200


def test_a_request_that_has_arrived_is_not_idle(serve_with):
    """A connection whose request has arrived, but was not read yet, is not closed as idle."""
    server = serve_with(max_connections=2)
    with server.wire() as first, server.wire() as second:
        for wire in (first, second):
            wire.ask("/")
            wire.answer()

        def one_more() -> None:
            first.ask("/late")
            more = HttpConnection(server.edge)
            assert server.edge.add(more)
            server.edge.remove(more)

        server.call(one_more)
        assert first.answer().body == b"/late 0"
        assert second.rest() == b""


def test_no_room(serve_with):
    """If all connections have a request in progress, the next connection gets 503."""
    server = serve_with(max_connections=2)
    with server.wire() as first, server.wire() as second:
        for wire in (first, second):
            wire.ask("/stay")
            assert server.entered.acquire(timeout=WAIT_S)
        with server.wire() as third:
            answer = third.answer()
            assert (answer.status, answer["retry-after"]) == (503, "1")
            assert third.rest() == b""
        server.let_go()
        assert [wire.answer().status for wire in (first, second)] == [200, 200]
    with server.wire() as wire:
        wire.ask("/")
        assert wire.answer().status == 200


@pytest.mark.parametrize("beginning", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_a_flood(serve_with, beginning):
    """Many times the limit of idle and half-open connections do not starve a client."""
    server = serve_with(max_connections=20)
    flood = []
    for i in range(300):
        wire = server.wire()
        flood.append(wire)
        wire.try_send(beginning)
        if i % 10 == 0:
            with server.wire() as good:
                good.ask("/")
                assert good.answer().status == 200
    # A connection leaves the edge one iteration of the event loop after it is closed.
    wait_until(lambda: len(server.edge.connections) <= 20, WAIT_S)
    for wire in flood:
        wire.close()
    server.wait_until_empty()


# --- disconnects


def test_a_client_that_stops_sending(serve_with):
    """A client that closes its half of the connection still gets its response."""
    server = serve_with()
    with server.wire() as wire:
        wire.ask("/stay")
        wire.stop_sending()
        assert server.entered.acquire(timeout=WAIT_S)
        assert wire.answer().status == 100  # it was asked whether it is there
        server.let_go()
        answer = final(wire)
        assert (answer.body, answer["connection"]) == (b"/stay 0", "close")
        assert wire.rest() == b""
    server.wait_until_empty()


def test_a_pipeline_that_ends(serve_with):
    """All pipelined requests are answered after the client has stopped sending."""
    server = serve_with()
    with server.wire() as wire:
        for path in ("/stay", "/one", "/two"):
            wire.ask(path)
        wire.stop_sending()
        assert server.entered.acquire(timeout=WAIT_S)
        server.let_go()
        assert [final(wire).body for _ in range(3)] == [b"/stay 0", b"/one 0", b"/two 0"]
        assert wire.rest() == b""


def test_a_stream_to_a_client_that_stops_sending(serve_with):
    """A stream that has begun is sent to its end."""
    server = serve_with()
    with server.wire() as wire:
        wire.ask("/stream")
        assert wire.head().status == 200
        wire.stop_sending()
        assert wire.chunk() == b"first"
        server.let_go()
        assert wire.chunk() == b"/stream 0"
        assert wire.chunk() == b""
        assert wire.rest() == b""


def test_a_quiet_stream_to_a_client_that_stops_sending(serve_with, monkeypatch):
    """A client that was probed before its response began is not dropped in a pause."""
    monkeypatch.setattr(half_close, "_QUIET_S", 0.05)
    server = serve_with()
    with server.wire() as wire:
        wire.ask("/stay-and-stream")
        wire.stop_sending()
        assert server.entered.acquire(timeout=WAIT_S)
        assert wire.answer().status == 100
        server.let_go()
        while (head := wire.head()).status == 100:
            pass
        assert head.status == 200
        assert wire.chunk() == b"first"
        for _ in range(8):  # time in which eight clients without a probe are dropped
            with server.wire() as other:
                other.ask("/stream")
                assert other.head().status == 200
                assert other.chunk() == b"first"
                other.stop_sending()
                assert server.cancelled.acquire(timeout=WAIT_S)
        server.let_go()
        assert wire.chunk() == b"/stay-and-stream 0"
        assert wire.chunk() == b""


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("path", ["/stay", "/stream"])
@pytest.mark.parametrize("leave", [Wire.close, Wire.reset])
def test_clients_that_vanish(serve_with, path, leave, version):
    """Each way to disconnect cancels the handler; many disconnects leave nothing behind."""
    server = serve_with()
    for _ in range(50):
        wire = server.wire()
        wire.send(f"GET {path} HTTP/{version}\r\nHost: x\r\n\r\n".encode())
        assert server.entered.acquire(timeout=WAIT_S)
        leave(wire)
    for _ in range(50):
        assert server.cancelled.acquire(timeout=WAIT_S)
    server.wait_until_empty()


def test_a_reset_behind_a_full_line(serve_with):
    """A reset is detected even while pipelined requests pause reading."""
    server = serve_with()
    with server.wire() as wire:
        for _ in range(3):
            wire.ask("/stay")
        assert server.entered.acquire(timeout=WAIT_S)
        wire.reset()
        assert server.cancelled.acquire(timeout=WAIT_S)
    server.wait_until_empty()


@pytest.mark.parametrize("leave", [Wire.close, Wire.reset, Wire.stop_sending])
def test_an_upload_that_breaks_off(serve_with, leave):
    """An incomplete request is refused; a client that still reads gets 400."""
    server = serve_with()
    with server.wire() as wire:
        wire.ask("/", "POST", "Content-Length: 10")
        wire.send(b"abc")
        server.wait_for_connections(1)
        leave(wire)
        if leave is Wire.stop_sending:
            answer = wire.answer()
            assert (answer.status, answer.body) == (
                400, b"The request is incomplete.\n",
            )  # fmt: skip
    server.wait_until_empty()


def test_http_1_0_that_stops_sending(serve_with):
    """An HTTP/1.0 client that stops sending counts as disconnected; its handler is cancelled."""
    server = serve_with()
    with server.wire() as wire:
        wire.send(b"GET /stay HTTP/1.0\r\n\r\n")
        assert server.entered.acquire(timeout=WAIT_S)
        wire.stop_sending()
        assert server.cancelled.acquire(timeout=WAIT_S)
    server.wait_until_empty()


def test_http_1_0_behind_other_requests(serve_with):
    """A half-closed client whose last request is HTTP/1.0 is dropped at that request."""
    server = serve_with()
    with server.wire() as wire:
        wire.ask("/stay")
        wire.send(b"GET /upload HTTP/1.0\r\n\r\n")
        wire.stop_sending()
        assert server.entered.acquire(timeout=WAIT_S)
        server.let_go()
        assert final(wire).body == b"/stay 0"
    server.wait_until_empty()


# --- responses


def test_a_stream_in_http_1_0(serve_with):
    """A stream in HTTP/1.0 is not chunked and ends with the connection."""
    server = serve_with()
    server.let_go()
    with server.wire() as wire:
        wire.send(b"GET /stream HTTP/1.0\r\n\r\n")
        answer = wire.head()
        assert not answer.all("transfer-encoding")
        assert answer["connection"] == "close"
        assert wire.rest() == b"first/stream 0"


def test_head_of_a_stream(serve_with):
    """The response to HEAD of a stream ends with its head; the connection stays open."""
    server = serve_with()
    with server.wire() as wire:
        wire.ask("/stream", "HEAD")
        assert wire.head().status == 200
        wire.ask("/")
        assert wire.answer().body == b"/ 0"
        server.let_go()


def test_an_early_answer(serve_with):
    """After a response before the body's end, the body is read and the connection stays open."""
    server = serve_with()
    body = b"x" * (4 << 20)
    with server.wire() as wire:
        wire.ask("/early", "POST", f"Content-Length: {len(body)}")
        assert wire.answer().body == b"/early 0"
        wire.send(body)
        wire.ask("/")
        assert wire.answer().body == b"/ 0"


def test_an_early_answer_instead_of_a_continue(serve_with):
    """A response in place of 100 Continue closes the connection."""
    server = serve_with()
    with server.wire() as wire:
        wire.ask("/early", "POST", "Expect: 100-continue", "Content-Length: 5")
        answer = wire.answer()
        assert (answer.status, answer["connection"]) == (200, "close")
        assert wire.rest() == b""


def test_too_many_pipelined_requests(serve_with):
    """256 pipelined requests are answered; one more gets 503, and the connection closes."""
    server = serve_with()
    with server.wire() as wire:
        wire.ask("/stay")
        assert server.entered.acquire(timeout=WAIT_S)
        wire.send(b"GET /n HTTP/1.1\r\nHost: x\r\n\r\n" * 300)
        server.let_go()
        statuses = [wire.answer().status for _ in range(258)]
        assert statuses == [200] * 257 + [503]
        assert wire.rest() == b""


# --- draining


def test_draining_an_idle_connection(serve_with):
    """A request on its way to a draining idle connection is answered with Connection: close."""
    server = serve_with()
    with server.wire() as used, server.wire() as fresh, server.wire() as silent:
        used.ask("/")
        assert not used.answer().all("connection")
        server.wait_for_connections(3)
        server.drain()
        for wire in (used, fresh):
            wire.ask("/late")
            answer = wire.answer()
            assert (answer.body, answer["connection"]) == (b"/late 0", "close")
            assert wire.rest() == b""
        assert silent.rest() == b""
    server.wait_until_empty()


def test_draining_a_busy_connection(serve_with):
    """While draining, all requests are answered, the last one with Connection: close."""
    server = serve_with()
    with server.wire() as busy, server.wire() as queued, server.wire() as begun:
        begun.send(b"GET /begun HT")
        # All at once: what is not here when the end begins need not be answered.
        line = [
            b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % each for each in (b"/stay", b"/one", b"/two")
        ]
        queued.send(*line)
        busy.ask("/stay")
        for _ in range(2):
            assert server.entered.acquire(timeout=WAIT_S)
        server.wait_for_connections(3)
        server.drain()
        server.let_go()
        begun.send(b"TP/1.1\r\nHost: x\r\n\r\n")
        assert busy.answer()["connection"] == "close"
        assert begun.answer()["connection"] == "close"
        answers = [queued.answer() for _ in range(3)]
        assert [answer.body for answer in answers] == [b"/stay 0", b"/one 0", b"/two 0"]
        assert [answer.all("connection") for answer in answers] == [[], [], ["close"]]
        for wire in (busy, begun, queued):
            assert wire.rest() == b""
    server.wait_until_empty()


async def test_under_uvicorn():
    """uvicorn runs the edge's connections through its documented configuration."""

    async def app(exchange: Exchange) -> None:
        exchange.respond(ResponseHead(200, b"", None, False), b"", exchange.head.raw_path)

    edge = Edge(app, edge_limits(HTTPOptions()))
    http: Any = lambda **_: HttpConnection(edge)  # noqa: E731
    config = uvicorn.Config(app, http=http, lifespan="off", log_config=None)  # type: ignore[arg-type]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve([listener]))
        client = Wire(listener.getsockname()[1])
        client.ask("/path")
        assert (await asyncio.to_thread(client.answer)).body == b"/path"
        client.close()
        server.should_exit = True
        await serving
