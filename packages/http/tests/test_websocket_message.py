"""WebSocket handshakes and the messages between proxy and replica, as bytes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alacarte_http._websocket.handshake import read_handshake, refusal_of, write_accept
from alacarte_http._websocket.message import (
    Accept,
    pack_accept,
    pack_close,
    pack_denial,
    unpack_accept,
    unpack_close,
    unpack_denial,
)

HEAD = (
    b"GET /a%20b?q=1 HTTP/1.1\r\nhost: here\r\nsec-websocket-version: 13\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def joined(message: Any) -> bytes:
    return b"".join(message)


@given(st.integers(1000, 4999), st.text(max_size=30))
def test_a_close_arrives_as_it_was_sent(code: int, reason: str) -> None:
    """Code and reason, whatever the reason holds."""
    assert unpack_close(joined(pack_close(code, reason))) == (code, reason)


def test_a_reason_fits_into_a_frame() -> None:
    """123 bytes do, 124 do not."""
    assert unpack_close(joined(pack_close(1000, "x" * 123))) == (1000, "x" * 123)
    with pytest.raises(ValueError, match="at most 123 fit"):
        pack_close(1000, "é" * 62)


def test_an_accept_leaves_the_handshake_to_the_proxy() -> None:
    """The application's own headers pass, those of the handshake do not."""
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
    """No application can write headers through others."""
    with pytest.raises(ValueError, match="control character|not a header name"):
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
    scope = read_handshake(HEAD)
    assert scope["path"] == "/a b"
    assert scope["raw_path"] == b"/a%20b"
    assert scope["query_string"] == b"q=1"
    assert scope["headers"][0] == (b"host", b"here")
    assert refusal_of(scope) is None
    answer = write_accept(scope, Accept(b"chat", b"x-own: 1\r\n"), b"id")
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
        (b"host: here", b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==", 400),
    ],
)
def test_what_is_no_handshake(before: bytes, after: bytes, status: int) -> None:
    """Method, version and key are what RFC 6455 says, or the answer says which is not."""
    assert before in HEAD
    refusal = refusal_of(read_handshake(HEAD.replace(before, after)))
    assert refusal is not None
    assert refusal.status == status
