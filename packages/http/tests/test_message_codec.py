"""The public codec of HTTP messages in calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

import pytest

from alacarte.types import Call, Reply
from alacarte_http import message
from alacarte_http._head_codec import pack_peer, pack_request, pack_response, unpack_request
from alacarte_http._websocket.websocket_codec import pack_accept, pack_denial, unpack_accept
from alacarte_http.message import HTTP, WEBSOCKET, HttpResponse, read_response, write_reply

PACKED = pack_request(
    "POST",
    b"/shop/%C3%A9",
    b"n=1",
    "1.1",
    [(b"host", b"a"), (b"x-key", b"k"), (b"x-key", b"l")],
    root_path=b"/shop",
    peer=pack_peer(True, ("10.0.0.9", 5), ("10.0.0.1", 443)),
)
SHAPES = {
    "caller": (PACKED, b"body"),
    "caller, no body": (PACKED,),
    "replica": (memoryview(PACKED + b"body"),),
}


def http_call(payload: Any = (PACKED,), protocol: str = HTTP) -> Call:
    return Call(protocol, payload)


def joined(call: Call) -> bytes:
    return b"".join(call.payload)


@pytest.mark.parametrize("payload", SHAPES.values(), ids=SHAPES)
def test_a_head_is_read_in_every_process(payload: Any):
    """A request's head is read from a caller's and from a replica's payload."""
    head = message.read_request(http_call(payload))
    assert (head.method, head.path, head.raw_path) == ("POST", "/shop/é", b"/shop/%C3%A9")
    assert (head.query, head.version, head.root_path) == (b"n=1", "1.1", "/shop")
    assert (head.scheme, head.client, head.server) == ("https", ("10.0.0.9", 5), ("10.0.0.1", 443))
    assert head.header("X-Key") == "k"
    assert head.header("missing") is None


@pytest.mark.parametrize("payload", SHAPES.values(), ids=SHAPES)
def test_a_head_is_written(payload: Any):
    """The replica sees the new head and the same body; the call itself is not changed."""
    call = http_call(payload)
    before = joined(call)
    head = message.read_request(call)
    changed = message.with_request(call, head._replace(path="/shop/b", headers=[(b"a", b"b")]))
    scope, body = unpack_request(joined(changed))
    assert (scope["path"], scope["headers"], scope["method"]) == ("/shop/b", [(b"a", b"b")], "POST")
    assert bytes(body) == before[len(PACKED) :]
    assert joined(call) == before
    assert len(changed.payload) == len(call.payload)


@pytest.mark.parametrize(
    ("changes", "raw_path"),
    [
        ({}, b"/shop/%C3%A9"),
        ({"path": "/a b"}, b"/a%20b"),
        ({"raw_path": b"/%61"}, b"/%61"),
        ({"path": "/a", "raw_path": b"/%61"}, b"/%61"),
    ],
)
def test_a_path_is_sent_percent_encoded(changes: dict[str, Any], raw_path: bytes):
    """A raw path is sent unchanged, a new decoded path percent-encoded."""
    call = http_call()
    changed = message.with_request(call, message.read_request(call)._replace(**changes))
    head = message.read_request(changed)
    assert (head.raw_path, head.path) == (raw_path, unquote(raw_path.decode()))


@pytest.mark.parametrize(("protocol", "scheme"), [(HTTP, "https"), (WEBSOCKET, "wss")])
def test_the_scheme_is_of_the_protocol(protocol: str, scheme: str):
    """A changed head of a WebSocket's handshake keeps its scheme."""
    call = http_call(protocol=protocol)
    head = message.read_request(message.with_request(call, message.read_request(call)))
    assert head.scheme == scheme


def test_which_calls_are_requests():
    """Calls of handles are not HTTP requests."""
    assert [message.is_request(Call(p, ())) for p in (HTTP, WEBSOCKET, "python")] == [True, True, 0]


@pytest.mark.parametrize("pieces", [1, 2])
def test_a_response_is_read(pieces: int):
    """A response is read from a caller's and from a replica's payload."""
    head = pack_response(201, [(b"Etag", b"1"), (b"content-length", b"4")])
    payload = (head, b"body") if pieces == 2 else (head + b"body",)
    response = read_response(http_call(), Reply(payload))
    assert (response.status, bytes(response.body), response.rest) == (201, b"body", None)
    assert response.headers == [(b"etag", b"1"), (b"content-length", b"4")]
    assert response.header("ETag") == "1"


async def _parts() -> AsyncIterator[Any]:
    yield (b"more",)


@pytest.mark.parametrize("protocol", [HTTP, WEBSOCKET])
def test_a_response_is_written(protocol: str):
    """A layer's response arrives unchanged, with the rest of a stream."""
    call = http_call(protocol=protocol)
    rest = _parts()
    given = HttpResponse(404, "nö", {"X-Why": "no"}, rest=rest)
    found = read_response(call, write_reply(call, given))
    assert (found.status, bytes(found.body).decode()) == (404, "nö")
    assert found.headers == [(b"x-why", b"no"), (b"content-type", b"text/plain; charset=utf-8")]
    assert found.rest is rest
    assert write_reply(call, found).rest is rest


def test_headers_are_replaced_by_name():
    """`with_headers` keeps other headers in order, and the body."""
    response = HttpResponse(200, b"x", [("a", "1"), ("b", "2"), ("A", "3")])
    changed = response.with_headers({"A": "4", "c": "5"})
    assert changed.headers == [(b"b", b"2"), (b"a", b"4"), (b"c", b"5")]
    assert (changed.status, changed.body) == (200, b"x")
    assert len(response.headers) == 3


def test_an_unchanged_response_is_not_encoded_again():
    """A large body is not copied on its way through layers."""
    call, reply = http_call(), Reply((pack_response(200, []) + b"body",))
    assert write_reply(call, read_response(call, reply)) is reply
    assert write_reply(call, read_response(call, reply).with_headers({"a": "b"})) is not reply


def test_an_accepted_websocket_is_a_response_101():
    """A layer can change the headers of an accepted WebSocket except the handshake's own."""
    call = http_call(protocol=WEBSOCKET)
    reply = Reply(pack_accept("chat", [(b"a", b"1")]), _parts())
    accepted = read_response(call, reply)
    assert (accepted.status, accepted.headers) == (101, [(b"a", b"1")])
    changed = write_reply(call, accepted.with_headers({"b": "2", "upgrade": "evil"}))
    assert changed.rest is reply.rest
    accept = unpack_accept(changed.payload[0])
    assert (accept.subprotocol, accept.lines) == (b"chat", b"a: 1\r\nb: 2\r\n")


def test_a_denied_websocket_is_the_response_to_it():
    """A denied WebSocket is the application's response."""
    call = http_call(protocol=WEBSOCKET)
    denied = read_response(call, Reply(pack_denial(403, [(b"a", b"1")], b"no")))
    assert (denied.status, denied.headers, bytes(denied.body)) == (403, [(b"a", b"1")], b"no")


@pytest.mark.parametrize(
    ("status", "headers"),
    [(101, {}), (600, {}), (200, {"a": "b\r\nc: d"}), (200, {"a b": "c"}), (200, {"": "c"})],
)
def test_no_response_breaks_out(status: int, headers: dict[str, str]):
    """An invalid status or header raises where the layer creates the response."""
    with pytest.raises(ValueError, match=r".+"):
        HttpResponse(status, b"", headers)
    if 200 <= status < 600:
        with pytest.raises(ValueError, match=r".+"):
            HttpResponse(200).with_headers(headers)
