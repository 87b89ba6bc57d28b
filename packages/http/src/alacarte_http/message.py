"""Read and write the HTTP messages of calls, for layers around them.

`wrap_caller` and `wrap_replica` see HTTP requests and the handshakes of WebSockets as a `Call`,
whose payload these functions read:

    if message.is_request(call) and message.read_request(call).method == "GET": ...

A layer at the proxy (`wrap_http`) needs none of this: it gets an `HttpRequest`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from alacarte.types import Buffer, Call, Message, Reply

from ._head_codec import (
    HTTP,
    ResponseHead,
    pack_ends,
    pack_request,
    pack_response,
    split_request,
    unpack_response,
    unpack_scope,
)
from ._websocket.websocket_codec import (
    ACCEPT,
    DENY,
    HANDSHAKE_HEADERS,
    KIND,
    WEBSOCKET,
    Accept,
    unpack_accept,
    unpack_denial,
)

__all__ = [
    "HTTP",
    "WEBSOCKET",
    "Headers",
    "HttpResponse",
    "RequestHead",
    "header_pairs",
    "is_request",
    "read_request",
    "read_response",
    "with_request",
    "write_reply",
]

Text = str | bytes
Headers = Mapping[str, str] | Iterable[tuple[Text, Text]]
"""Headers as they are given: a mapping, or pairs where a name may come twice. Text is Latin-1."""

_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_SWITCHING = 101


class RequestHead(NamedTuple):
    """The head of a request, as the replica gets it.

    Attributes:
        method: In capitals.
        path: Decoded, the route's prefix included.
        raw_path: As the client sent it, percent-encoded.
        query: What follows the path's question mark.
        version: "1.1" or "1.0".
        headers: In order, with names in lower case.
        root_path: What the application is mounted under: the route's prefix.
        scheme: `http`, `https`, `ws` or `wss`.
        client: Address of the client, None where its socket has none.
        server: Address that the client connected to.
    """

    method: str
    path: str
    raw_path: bytes
    query: bytes
    version: str
    headers: list[tuple[bytes, bytes]]
    root_path: str
    scheme: str
    client: tuple[str, int | None] | None
    server: tuple[str, int | None] | None

    def header(self, name: str) -> str | None:
        """Return the first header of that name, None without."""
        return find_header(self.headers, name)


class HttpResponse:
    """A response: its status and headers, and its body or the beginning of it.

    Args:
        status: 200 to 599.
        body: All of it, or its beginning; a string is sent as UTF-8, as plain text unless a header
            says otherwise.
        headers: `Content-Length` is added where the body is all here.
        rest: Further parts of the body, one in each message.

    Raises:
        ValueError: No response can have this status, or one of the headers.
        TypeError: The body is neither text nor bytes, or the rest no asynchronous iterator.
    """

    __slots__ = ("_accept", "_body", "_head", "_reply", "_rest")

    def __init__(
        self,
        status: int,
        body: str | Buffer = b"",
        headers: Headers = (),
        *,
        rest: AsyncIterator[Message] | None = None,
    ) -> None:
        pairs = header_pairs(headers)
        if isinstance(body, str):
            body = body.encode()
            if not any(name == b"content-type" for name, _ in pairs):
                pairs.append(_TEXT)
        elif not isinstance(body, bytes | bytearray | memoryview):
            raise TypeError(f"the body of a response is text or bytes, not {body!r}")
        if rest is not None and not hasattr(rest, "__aiter__"):
            raise TypeError(f"the rest of a response is an asynchronous iterator, not {rest!r}")
        self._set(_head_of(status, pairs), body, rest)

    def _set(
        self,
        head: ResponseHead,
        body: Buffer,
        rest: AsyncIterator[Message] | None,
        accept: Accept | None = None,
        reply: Reply | None = None,
    ) -> HttpResponse:
        self._head = head
        self._body = body
        self._rest = rest
        self._accept = accept
        self._reply = reply  # the reply that it was read from
        return self

    @property
    def status(self) -> int:
        """101 for a WebSocket that the application has accepted."""
        return self._head.status

    @property
    def body(self) -> Buffer:
        """What is here of the body."""
        return self._body

    @property
    def rest(self) -> AsyncIterator[Message] | None:
        """The further messages of the reply, None where the body is all here.

        Who takes them reads them to their end or closes them.
        """
        return self._rest

    def __repr__(self) -> str:
        more = "" if self._rest is None else " and more"
        return f"HttpResponse({self.status}, {len(self._body)} bytes{more})"

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers in order, with names in lower case."""
        return self._head.headers

    def header(self, name: str) -> str | None:
        """Return the first header of that name, None without."""
        return find_header(self.headers, name)

    def with_headers(self, headers: Headers) -> HttpResponse:
        """Return the same response with these headers in place of those of their names.

        Raises:
            ValueError: No response can have one of the headers.
        """
        pairs = header_pairs(headers)
        if self._accept is not None:
            pairs = [pair for pair in pairs if pair[0] not in HANDSHAKE_HEADERS]
        replaced = {name for name, _ in pairs}
        kept = [header for header in self.headers if header[0] not in replaced]
        block = unpack_response(pack_response(200, [*kept, *pairs]))[0]
        head = ResponseHead(self.status, block.block, block.length, block.close)
        accept = self._accept
        if accept is not None:
            accept = accept._replace(lines=head.block)
        return _response(head, self._body, self._rest, accept)


def header_pairs(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return headers as they are sent, with names in lower case."""
    pairs: Iterable[tuple[Text, Text]] = (
        headers.items() if isinstance(headers, Mapping) else headers
    )
    return [(_bytes(name).lower(), _bytes(value)) for name, value in pairs]


def find_header(headers: Sequence[tuple[bytes, bytes]], name: str) -> str | None:
    """Return the first header of a name, in whatever case, None without."""
    wanted = name.lower().encode("latin-1")
    return next((value.decode("latin-1") for each, value in headers if each == wanted), None)


def is_request(call: Call) -> bool:
    """Return whether a call is an HTTP request, or the handshake of a WebSocket."""
    return call.protocol in (HTTP, WEBSOCKET)


def read_request(call: Call) -> RequestHead:
    """Return the head of the request that a call carries.

    What of the body has come with the head follows it in `call.payload`, the rest in `call.body`.
    """
    scope = unpack_scope(split_request(call.payload[0])[0])
    scheme = scope["scheme"]
    return RequestHead(
        scope["method"],
        scope["path"],
        scope["raw_path"],
        scope["query_string"],
        scope["http_version"],
        scope["headers"],
        scope["root_path"],
        scheme.replace("http", "ws") if call.protocol == WEBSOCKET else scheme,
        scope["client"],
        scope["server"],
    )


def with_request(call: Call, head: RequestHead) -> Call:
    """Return the same call with another head; the body stays.

    Of a path only `raw_path` is sent. Where `path` alone was replaced, it is percent-encoded.

    Raises:
        ValueError: A part of the head holds a line feed.
    """
    before = read_request(call)
    _, body = split_request(call.payload[0])
    raw_path = head.raw_path
    if head.path != before.path and raw_path == before.raw_path:
        raw_path = quote(head.path).encode()
    packed = pack_request(
        head.method,
        raw_path,
        head.query,
        head.version,
        head.headers,
        root_path=head.root_path.encode(),
        ends=pack_ends(head.scheme in ("https", "wss"), head.client, head.server),
    )
    pieces: list[Any] = [body] if len(body) else []
    pieces += call.payload[1:]
    # In the replica a payload is one piece.
    payload = [b"".join((packed, *pieces))] if len(call.payload) == 1 else [packed, *pieces]
    return dataclasses.replace(call, payload=payload)


def read_response(call: Call, reply: Reply) -> HttpResponse:
    """Return the response that a reply carries.

    Args:
        call: The request that was answered.
    """
    payload = reply.payload
    message = payload[0] if len(payload) == 1 else b"".join(payload)
    if call.protocol != WEBSOCKET:
        return _response(*unpack_response(message), reply.rest, None, reply)
    if message[0] != ACCEPT:
        return _response(*unpack_denial(message), reply.rest, None, reply)
    accept = unpack_accept(message)
    head = ResponseHead(_SWITCHING, accept.lines, None, False)
    return _response(head, b"", reply.rest, accept, reply)


def write_reply(call: Call, response: HttpResponse) -> Reply:
    """Return the reply that carries a response.

    Args:
        call: The request that is answered. A WebSocket is denied with any status but 101.
    """
    if response._reply is not None:
        return response._reply
    head = response._head
    if call.protocol != WEBSOCKET:
        return Reply((b"".join((head.pack(), response.body)),), response.rest)
    accept = response._accept
    if accept is not None:
        return Reply((accept.pack(),), response.rest)
    if head.length is None and response.rest is None:
        head = head.with_length(len(response.body))  # the proxy counts the body of no denial
    return Reply((b"".join((KIND[DENY], head.pack(), response.body)),), response.rest)


def _response(
    head: ResponseHead,
    body: Buffer,
    rest: AsyncIterator[Message] | None,
    accept: Accept | None,
    reply: Reply | None = None,
) -> HttpResponse:
    return HttpResponse.__new__(HttpResponse)._set(head, body, rest, accept, reply)


def _head_of(status: int, pairs: list[tuple[bytes, bytes]]) -> ResponseHead:
    return unpack_response(pack_response(status, pairs))[0]


def _bytes(text: Text) -> bytes:
    # `bytes` of a number is as many zeros.
    return text.encode("latin-1") if isinstance(text, str) else bytes(memoryview(text))
