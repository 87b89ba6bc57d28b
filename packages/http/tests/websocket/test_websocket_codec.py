"""WebSocket handshakes and the messages between proxy and replica, as bytes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alacarte_http._edge.edge_limits import edge_limits
from alacarte_http._edge.head import Head
from alacarte_http._edge.reader import Reader, Upgrade
from alacarte_http._websocket.opening_handshake import refusal_of, write_accept
from alacarte_http._websocket.websocket_codec import (
    Accept,
    pack_accept,
    pack_close,
    pack_denial,
    unpack_accept,
    unpack_close,
    unpack_denial,
)
from alacarte_http.config import HTTPOptions

HEAD = (
    b"GET /a%20b?q=1 HTTP/1.1\r\nhost: here\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def read_handshake(data: bytes) -> Head:
    """Return the head of a handshake, as the edge reads it."""
    event = Reader(edge_limits(HTTPOptions())).feed(data)
    assert isinstance(event, Upgrade)
    return event.head


def joined(message: Any) -> bytes:
    return b"".join(message)


@given(st.integers(1000, 4999), st.text(max_size=30))
def test_a_close_arrives_as_it_was_sent(code: int, reason: str) -> None:
    """A close has code and reason, with any text."""
    assert unpack_close(joined(pack_close(code, reason))) == (code, reason)


def test_a_reason_fits_into_a_frame() -> None:
    """123 bytes do, 124 do not."""
    assert unpack_close(joined(pack_close(1000, "x" * 123))) == (1000, "x" * 123)
    with pytest.raises(ValueError, match="the limit is 123"):
        pack_close(1000, "é" * 62)


def test_an_accept_leaves_the_handshake_to_the_proxy() -> None:
    """An acceptance has the application's own headers, not the handshake's."""
    headers = [
        (b"X-Own", b"1"),
        (b"Connection", b"close"),
        (b"Upgrade", b"h2c"),
        (b"Sec-WebSocket-Accept", b"?"),
        (b"sec-websocket-extensions", b"permessage-deflate"),
        (b"x-request-id", b"theirs"),
    ]
    found = unpack_accept(joined(pack_accept("chat", headers)))
    assert found == Accept(b"chat", b"x-own: 1\r\n")
    assert unpack_accept(joined(pack_accept(None, ()))) == Accept(b"", b"")


@pytest.mark.parametrize(
    ("subprotocol", "headers"),
    [
        ("chat\r\nx: y", ()),
        (None, [(b"x-own", b"1\r\nx: y")]),
        (None, [(b"x own", b"1")]),
    ],
)
def test_nothing_breaks_out_of_its_line(subprotocol: str | None, headers: Any) -> None:
    """A header or subprotocol cannot break its line."""
    with pytest.raises(ValueError, match="control character|not a valid header name"):
        pack_accept(subprotocol, headers)


def test_a_denial_is_a_response() -> None:
    """Status, headers, and the part of the body that came with them."""
    message = joined(pack_denial(401, [(b"www-authenticate", b"Basic")], b"who?"))
    head, body = unpack_denial(message)
    assert head.status == 401
    assert head.headers == [(b"www-authenticate", b"Basic")]
    assert bytes(body) == b"who?"


def test_a_handshake_is_read_and_answered() -> None:
    """The key of RFC 6455's example gets the answer of that example."""
    head = read_handshake(HEAD)
    assert head.path == "/a b"
    assert head.raw_path == b"/a%20b"
    assert head.query == b"q=1"
    assert head.headers[0] == (b"host", b"here")
    assert refusal_of(head) is None
    answer = write_accept(head, Accept(b"chat", b"x-own: 1\r\n"), "id")
    assert answer.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer
    assert answer.endswith(
        b"\r\nsec-websocket-protocol: chat\r\nx-own: 1\r\nx-request-id: id\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("before", "after", "status"),
    [
        (b"GET ", b"POST ", 405),
        (b"version: 13", b"version: 12", 426),
        (b"sec-websocket-version: 13\r\n", b"", 426),
        (b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b"", 400),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhlIHNhbXBsZSBub25jZQ", 400),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"AAAA", 400),
        (b"connection: ", b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nconnection: ", 400),
    ],
)
def test_invalid_handshakes(before: bytes, after: bytes, status: int) -> None:
    """An invalid method, version or key is refused with the reason."""
    assert before in HEAD
    refusal = refusal_of(read_handshake(HEAD.replace(before, after)))
    assert refusal is not None
    assert refusal.status == status
