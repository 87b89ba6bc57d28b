"""Functions that read and write HTTP messages in calls, for layers around calls.

The layers of `wrap_caller` and `wrap_replica` see an HTTP request or a WebSocket's handshake as a
`Call`. These functions read and write its payload:

    if message.is_request(call) and message.read_request(call).method == "GET": ...

A layer in the proxy (`wrap_http`) gets an `HttpRequest` instead.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote

from alacarte.types import Buffer, Call, Message, Reply

from ._head_codec import (
    HTTP,
    ResponseHead,
    pack_peer,
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
"""Headers: a mapping, or pairs if a name may repeat. Strings are encoded as Latin-1."""

_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_SWITCHING = 101


class RequestHead(NamedTuple):
    """The head of a request, as a replica receives it.

    Attributes:
        method: In capitals.
        path: Decoded path, with the route's prefix.
        raw_path: Path as sent, percent-encoded.
        query: Query string, without the question mark.
        version: "1.1" or "1.0".
        headers: In order, with names in lower case.
        root_path: Path under which the application is mounted: the route's prefix.
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
        """Return the first header with a name, in any case; None without one."""
        return find_header(self.headers, name)


class HttpResponse:
    """A response: status, headers, and a body or the beginning of a streamed body.

    Args:
        status: 200 to 599.
        body: The body, or its beginning if `rest` is given. A string is encoded as UTF-8, and sent
            as plain text unless `headers` has a content type.
        headers: `Content-Length` is added if `rest` is None.
        rest: Further parts of the body, one in each message.

    Raises:
        ValueError: The status or a header is invalid.
        TypeError: The body is neither a string nor bytes, or `rest` is not an asynchronous
            iterator.
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
            raise TypeError(f"a response's body must be a string or bytes, not {body!r}")
        if rest is not None and not hasattr(rest, "__aiter__"):
            raise TypeError(f"a response's rest must be an asynchronous iterator, not {rest!r}")
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
        self._reply = reply  # the reply that this response was read from
        return self

    @property
    def status(self) -> int:
        """The status; 101 for a WebSocket that the application has accepted."""
        return self._head.status

    @property
    def body(self) -> Buffer:
        """The body, or its beginning if `rest` is not None."""
        return self._body

    @property
    def rest(self) -> AsyncIterator[Message] | None:
        """The further parts of the body, None if `body` is complete.

        A layer that reads them must read them to their end or close them.
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
        """Return the first header with a name, in any case; None without one."""
        return find_header(self.headers, name)

    def with_headers(self, headers: Headers) -> HttpResponse:
        """Return a copy with these headers, which replace headers of the same names.

        Raises:
            ValueError: A header's name or value is invalid.
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
    """Return headers as pairs of bytes, with names in lower case."""
    pairs: Iterable[tuple[Text, Text]] = (
        headers.items() if isinstance(headers, Mapping) else headers
    )
    return [(_bytes(name).lower(), _bytes(value)) for name, value in pairs]


def find_header(headers: Sequence[tuple[bytes, bytes]], name: str) -> str | None:
    """Return the first header with a name, in any case; None without one."""
    wanted = name.lower().encode("latin-1")
    return next((value.decode("latin-1") for each, value in headers if each == wanted), None)


def is_request(call: Call) -> bool:
    """Return whether a call is an HTTP request or a WebSocket's handshake."""
    return call.protocol in (HTTP, WEBSOCKET)


def read_request(call: Call) -> RequestHead:
    """Return the head of the request in a call.

    The body's beginning follows the head in `call.payload`; its further parts are in `call.body`.
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
    """Return a copy of a call with another head and the same body.

    Only `raw_path` is sent. If `path` alone was replaced, `raw_path` becomes its encoded form.

    Raises:
        ValueError: A part of the head contains a line feed.
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
        peer=pack_peer(head.scheme in ("https", "wss"), head.client, head.server),
    )
    pieces: list[Buffer] = [body] if len(body) else []
    pieces += call.payload[1:]
    # In a replica, a payload is one piece.
    payload = [b"".join((packed, *pieces))] if len(call.payload) == 1 else [packed, *pieces]
    return dataclasses.replace(call, payload=payload)


def read_response(call: Call, reply: Reply) -> HttpResponse:
    """Return the response in a reply.

    Args:
        call: The reply's call.
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
    """Return a reply with a response.

    Args:
        call: The reply's call. A status other than 101 denies a WebSocket.
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
        head = head.with_length(len(response.body))  # the proxy does not add it to a denial
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
    # `memoryview` rejects integers, which `bytes` would turn into zeros.
    return text.encode("latin-1") if isinstance(text, str) else bytes(memoryview(text))
