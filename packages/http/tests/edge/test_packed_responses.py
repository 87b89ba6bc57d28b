"""Responses that the proxy sends as a replica packed them, and responses that it cannot."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from struct import pack
from typing import Any

import pytest

from alacarte_http._edge.edge import Edge
from alacarte_http._edge.edge_limits import edge_limits
from alacarte_http._edge.exchange import SMALL_BYTES, Exchange
from alacarte_http._edge.http_connection import HttpConnection
from alacarte_http._head_codec import PREFIX_BYTES, pack_response, pack_value_head, unpack_response
from alacarte_http.config import HTTPOptions

from ..memory_transport import MemoryTransport

ID = b"x-request-id: 1\r\n"
LINES = b"content-length: 5\r\nx-own: 1\r\n"


class Transport(MemoryTransport):
    """A transport that counts writes."""

    num_writes = 0

    def write(self, data: Any) -> None:
        self.num_writes += 1
        super().write(data)


def answered(answer: Callable[[Exchange], Any], request: bytes) -> Transport:
    """Return the transport after a request and its response."""

    async def run() -> Transport:
        edge = Edge(lambda exchange: answer(exchange) and None, edge_limits(HTTPOptions()))
        transport = Transport()
        connection = HttpConnection(edge)
        connection.connection_made(transport)
        connection.data_received(request)
        return transport

    return asyncio.run(run())


def parts(written: bytes) -> tuple[bytes, list[bytes], bytes]:
    """Return status line, sorted header lines without the date, and body."""
    head, end, body = written.partition(b"\r\n\r\n")
    assert end
    status, *lines = head.split(b"\r\n")
    return status, sorted(line for line in lines if not line.startswith(b"date: ")), body


def response(status: int = 200, body: bytes = b"hello", **headers: str) -> bytes:
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    return pack_response(status, [(b"content-length", b"%d" % len(body)), *pairs]) + body


REQUESTS = {
    "1.1": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "1.0": b"GET / HTTP/1.0\r\n\r\n",
    "1.0-keep-alive": b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "close": b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "head": b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n",
    "continue": b"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
}
RESPONSES = {
    "whole": response(),
    "value": pack_value_head(b"text/plain", 5) + b"hello",
    "failure": response(500),
    "empty": response(body=b""),
    "blank lines in it": response(body=b"\r\n\r\nhello\r\n\r\n"),
    "close": response(connection="close"),
    "no length": pack_response(200, [(b"x-own", b"1")]) + b"hello",
    "no header": pack_response(200, []) + b"hello",
    "no content": pack_response(204, []),
    "not modified": pack_response(304, [(b"content-length", b"7")]),
    "long": response(body=b"x" * (SMALL_BYTES + 1)),
}


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("message", RESPONSES.values(), ids=RESPONSES)
@pytest.mark.parametrize("request_bytes", REQUESTS.values(), ids=REQUESTS)
def test_a_packed_response_equals_respond(request_bytes, message, kind):
    """`respond_packed` and `respond` send the same response, up to the order of headers."""
    head, body = unpack_response(message)
    expected = answered(lambda exchange: exchange.respond(head, ID, body), request_bytes)
    got = answered(lambda exchange: exchange.respond_packed(kind(message), ID), request_bytes)
    assert parts(got.written) == parts(expected.written)
    assert (got.closing, got.num_writes) == (expected.closing, expected.num_writes)


def test_a_packed_response_leaves_unchanged():
    """A packed response leaves unchanged in one write, behind the proxy's own lines."""
    message = response(etag="1")
    got = answered(lambda exchange: exchange.respond_packed(message, ID), REQUESTS["1.1"])
    start, date, rest = got.written.split(b"\r\n", 2)
    assert (start, date[:6]) == (b"HTTP/1.1 200 OK", b"date: ")
    assert rest == ID + message[PREFIX_BYTES:]
    assert got.num_writes == 1


def forged(lines: bytes, body: bytes = b"hello", *, size: int | None = None) -> bytes:
    """Return a response that `pack_response` would never pack."""
    size = len(lines) if size is None else size
    return pack("<HHqI", 200, 0, 5, size) + lines + b"\r\n" + body


FORGED = {
    "an empty line in front": forged(b"\r\n" + LINES),
    "an empty line between": forged(LINES + b"\r\nHTTP/1.1 200 OK\r\n" + LINES),
    "an empty line at the end": forged(LINES + b"\r\n"),
    "no end of the last line": forged(LINES[:-2]),
    "no line": forged(b"content-length: 5"),
    "a longer body": forged(LINES, b"hello!"),
    "a shorter body": forged(LINES, b"hell"),
}


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("message", FORGED.values(), ids=FORGED)
def test_a_replica_cannot_split_a_response(message, method):
    """A response whose head or body ends elsewhere than declared becomes a 500."""
    request = REQUESTS["1.1"].replace(b"GET", method)
    got = answered(lambda exchange: exchange.respond_packed(message, ID), request)
    status, _, body = parts(got.written)
    if method == b"GET":
        assert status == b"HTTP/1.1 500 Internal Server Error"
        assert body == b"Internal Server Error\n"
    else:
        assert body == b""
    assert got.written.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("size", [0, len(LINES) - 11, 1000])
def test_another_size_of_the_lines(size):
    """A wrong size of the header lines does no harm if head and body end as declared."""
    message = forged(LINES, size=size)
    got = answered(lambda exchange: exchange.respond_packed(message, ID), REQUESTS["1.1"])
    assert got.written.endswith(ID + LINES + b"\r\nhello")
