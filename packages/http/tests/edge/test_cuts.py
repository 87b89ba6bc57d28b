"""The edge's responses do not depend on how a client's bytes are split into reads."""

from __future__ import annotations

import asyncio
import re

from hypothesis import example, given, settings
from hypothesis import strategies as st

from alacarte_http._edge.edge import Edge
from alacarte_http._edge.edge_limits import edge_limits
from alacarte_http._edge.exchange import Exchange
from alacarte_http._edge.http_connection import HttpConnection, Phase
from alacarte_http._head_codec import ResponseHead
from alacarte_http.config import HTTPOptions

from ..memory_transport import MemoryTransport

_HOST = b"Host: x\r\n"
_UPGRADE = b"Connection: upgrade\r\nUpgrade: h2c\r\n"
_CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
MESSAGES = [
    b"GET /a HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"HEAD /h?q HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET /u HTTP/1.1\r\n" + _HOST + _UPGRADE + b"\r\n",
    b"POST /l HTTP/1.1\r\n" + _HOST + b"Content-Length: 9\r\n\r\n\r\n\r\nGET /",
    b"POST /lu HTTP/1.1\r\n" + _HOST + _UPGRADE + b"Content-Length: 4\r\n\r\n\r\n\r\n",
    b"POST /c HTTP/1.1\r\n" + _HOST + _CHUNKED + b"6\r\n\r\n\r\n\r\n\r\n0\r\n\r\n",
    b"POST /ct HTTP/1.1\r\n" + _HOST + _CHUNKED + b"2;x=y\r\nab\r\n0\r\nA: b\r\n\r\n",
    b"\r\n",
    b"\r\n\r\nGET /e HTTP/1.1\r\n" + _HOST + b"\r\n",
    # What is refused ends the sequence.
    b"GET  /two HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET /no-host HTTP/1.1\r\n\r\n",
    b"HEAD /no-host HTTP/1.1\r\n\r\n",
    b"GET /last HTTP/1.1\r\n" + _HOST + b"Connection: close\r\n\r\n",
    b"\n",
    b"\rGET /",
]


async def app(exchange: Exchange) -> None:
    """Respond with the method, the path and the body of the request."""
    body = b""
    while True:
        body += await exchange.read()
        if not exchange.more_body:
            break
    text = exchange.head.raw_path + b" %r\n" % body
    head = ResponseHead(200, b"content-length: %d\r\n" % len(text), len(text), False)
    exchange.respond(head, b"", text)


async def outcome(reads: list[bytes]) -> tuple[bytes, bool]:
    """Return the bytes written after these reads, and whether the connection is closed."""
    connection, wire = HttpConnection(Edge(app, edge_limits(HTTPOptions()))), MemoryTransport()
    connection.connection_made(wire)
    for read in reads:
        connection.data_received(read)
        await asyncio.sleep(0)
    for _ in range(3 * len(MESSAGES)):
        await asyncio.sleep(0)
    over = connection.phase is not Phase.OPEN
    connection.connection_lost(None)
    assert not wire.aborted
    return re.sub(rb"date: .*?\r\n", b"", wire.written), over


@settings(deadline=None, max_examples=200)
@given(
    messages=st.lists(st.sampled_from(MESSAGES), min_size=1, max_size=6),
    cuts=st.lists(st.integers(1, 400), max_size=12),
    bytewise=st.booleans(),
)
@example(messages=[MESSAGES[2], MESSAGES[10]], cuts=[], bytewise=False)
def test_any_cut(messages: list[bytes], cuts: list[int], bytewise: bool) -> None:
    """Responses do not depend on how the requests are split into reads."""
    sent = b"".join(messages)
    places = range(1, len(sent)) if bytewise else sorted({cut for cut in cuts if cut < len(sent)})
    reads = [sent[a:b] for a, b in zip([0, *places], [*places, len(sent)], strict=True)]
    assert asyncio.run(outcome(reads)) == asyncio.run(outcome(messages))
    assert asyncio.run(outcome([sent])) == asyncio.run(outcome(messages))
