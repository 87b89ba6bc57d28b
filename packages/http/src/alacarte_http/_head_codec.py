"""Encoding of HTTP requests and responses between proxy and replica, without pickle.

    request: head size u32 | texts, separated by line feeds | body

The texts are method, path as sent, query, root path, HTTP version, addresses of the connection, and
header names and values in turn. No part of a request's head can contain a line feed.

    response: status u16 | close u16 | content length i64 | size u32 | header lines | CR LF | body

The part behind the four numbers is valid HTTP/1.1, and the proxy can send it unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
from struct import Struct
from typing import Any, NamedTuple
from urllib.parse import unquote

from alacarte.types import Buffer

__all__ = [
    "HEAD_END",
    "HTTP",
    "PREFIX_BYTES",
    "ResponseHead",
    "decode_path",
    "pack_peer",
    "pack_request",
    "pack_response",
    "pack_value_head",
    "split_request",
    "status_of",
    "unpack_prefix",
    "unpack_request",
    "unpack_response",
    "unpack_scope",
]

HTTP = "http"
"""Name of the protocol of HTTP calls."""

_HEAD = Struct("<I")
_REQUEST_TEXTS = 6
_RESPONSE = Struct("<HHqI")
PREFIX_BYTES = _RESPONSE.size
"""Size of the four numbers before a response's header lines."""
unpack_prefix = _RESPONSE.unpack_from
"""Return status, close, content length (negative without one) and size of the header lines."""
HEAD_END = b"\r\n\r\n"
"""End of the last header line, and the empty line behind it."""
_END = b"\r\n"
_STATUS = Struct("<H")
_NO_LENGTH = -1
_INTERPRETED_HEADERS = frozenset(
    (b"content-length", b"connection", b"transfer-encoding", b"x-request-id")
)
# The proxy chooses Transfer-Encoding, and adds the request's id itself.
_OMITTED_HEADERS = frozenset((b"transfer-encoding", b"x-request-id"))
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BREAKS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_CONTROLS = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""The control characters of `_BREAKS` without CR and LF."""
_ASGI = {"version": "3.0", "spec_version": "2.4"}


def decode_path(raw_path: bytes) -> str:
    """Return a path with its percent-encoding decoded."""
    text = raw_path.decode("latin-1")
    return unquote(text) if "%" in text else text


def pack_peer(
    secure: bool,
    client: tuple[str, int | None] | None,
    server: tuple[str, int | None] | None,
) -> bytes:
    """Return the encoded addresses of a client's connection.

    Args:
        secure: The connection uses TLS.
        client: Address of the client.
        server: Address that the client connected to.
    """
    scheme = b"https" if secure else b"http"
    return b"\0".join((scheme, _address(client), _address(server)))


def pack_request(
    method: str,
    raw_path: bytes,
    query: bytes,
    version: str,
    headers: Sequence[tuple[bytes, bytes]],
    *,
    root_path: bytes = b"",
    peer: bytes = b"http\0\0",
) -> bytes:
    """Return the head of a request.

    Args:
        raw_path: The path as sent, percent-encoded.
        query: Query string, without the question mark.
        root_path: Path under which the application is mounted.
        peer: See `pack_peer`.

    Raises:
        ValueError: One of the texts contains a line feed.
    """
    texts = b"\n".join(
        (
            method.encode(),
            raw_path,
            query,
            root_path,
            version.encode(),
            peer,
            *chain.from_iterable(headers),
        )
    )
    if texts.count(b"\n") != _REQUEST_TEXTS - 1 + 2 * len(headers):
        raise ValueError("the request's head contains a line feed")
    return _HEAD.pack(_HEAD.size + len(texts)) + texts


def split_request(message: Buffer) -> tuple[memoryview, memoryview]:
    """Return the head of a request and the beginning of its body."""
    view = memoryview(message)
    (size,) = _HEAD.unpack_from(view)
    return view[:size], view[size:]


def unpack_scope(head: memoryview) -> dict[str, Any]:
    """Return the ASGI scope of a request's head."""
    method, raw_path, query, root_path, version, peer, *headers = bytes(head[_HEAD.size :]).split(
        b"\n"
    )
    scheme, client, server = _unpack_peer(peer)
    return {
        "type": "http",
        "asgi": _ASGI,
        "http_version": version.decode(),
        "method": method.decode(),
        "scheme": scheme,
        "path": decode_path(raw_path),
        "raw_path": raw_path,
        "query_string": query,
        "root_path": root_path.decode(),
        "headers": list(zip(headers[::2], headers[1::2], strict=True)),
        "client": client,
        "server": server,
        "state": {},
    }


def unpack_request(message: Buffer) -> tuple[dict[str, Any], memoryview]:
    """Return the ASGI scope of a request and the beginning of its body."""
    head, body = split_request(message)
    return unpack_scope(head), body


def pack_response(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the head of a response.

    The replica formats the header lines, so that the proxy does not handle each header.

    Raises:
        ValueError: The status is invalid; a header's name or value would break its line; or
            Content-Length is not a number, or has two values.
    """
    if not 200 <= status <= 599:
        raise ValueError(f"{status} is not the status of a response.")
    lines = []
    length, close = _NO_LENGTH, False
    pairs = [*headers]  # an application may pass a generator
    for name, value in pairs:
        lowered = _header_name(bytes(name))
        if lowered in _INTERPRETED_HEADERS:
            if lowered in _OMITTED_HEADERS:
                _check_value(lowered, value)
                continue
            if lowered == b"content-length":
                if not value.isdigit() or length not in (_NO_LENGTH, int(value)):
                    _check_value(lowered, value)
                    raise ValueError(f"Content-Length is {value!r}, but must be a single number.")
                length = int(value)
            else:
                close = b"close" in [token.strip() for token in value.lower().split(b",")]
        lines.append(b"%b: %b\r\n" % (lowered, value))
    block = b"".join(lines)
    # One check for all headers: a value that breaks its line adds a line end.
    if _CONTROLS.search(block) or not block.count(b"\r") == block.count(b"\n") == len(lines):
        for name, value in pairs:
            _check_value(name, value)
        raise ValueError(f"{block!r} is not a valid block of headers.")
    return b"".join((_RESPONSE.pack(status, close, length, len(block)), block, _END))


def pack_value_head(content_type: bytes, length: int, status: int = 200) -> bytes:
    """Return the head of a response with only a content type and a length, unchecked.

    Args:
        length: Length of the body in bytes.
    """
    block = b"content-length: %d\r\ncontent-type: %b\r\n\r\n" % (length, content_type)
    return _RESPONSE.pack(status, False, length, len(block) - len(_END)) + block


@lru_cache(maxsize=512)
def _header_name(name: bytes) -> bytes:
    """Return a header's name in lower case.

    Raises:
        ValueError: The name is invalid.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a valid header name.")
    return name.lower()


def _check_value(name: bytes, value: bytes) -> None:
    if _BREAKS.search(value):
        raise ValueError(f"header {name.decode()}: {value!r} contains a control character.")


def check_headers(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Check the headers that a layer sets on a request.

    Raises:
        ValueError: A name or value would break its line.
    """
    for name, value in headers:
        _header_name(name)
        _check_value(name, value)


@lru_cache(maxsize=64)
def check_method(method: str) -> None:
    """Check the method that a layer sets on a request.

    Raises:
        ValueError: The method is invalid.
    """
    if not _NAME.fullmatch(method.encode("latin-1")):
        raise ValueError(f"{method!r} is not a valid HTTP method.")


class ResponseHead(NamedTuple):
    """The head of a response, as a replica encoded it.

    Attributes:
        block: Header lines, each ended with CR LF.
        length: Value of Content-Length, None without it.
        close: The headers contain `Connection: close`.
    """

    status: int
    block: bytes
    length: int | None
    close: bool

    def pack(self) -> bytes:
        """Return the head in the encoding of `pack_response`."""
        length = _NO_LENGTH if self.length is None else self.length
        prefix = _RESPONSE.pack(self.status, self.close, length, len(self.block))
        return b"".join((prefix, self.block, _END))

    def with_length(self, length: int) -> ResponseHead:
        """Return a copy with a Content-Length; the head must not have one."""
        return self._replace(block=self.block + b"content-length: %d\r\n" % length, length=length)

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers as pairs of name and value."""
        lines = self.block.split(b"\r\n")[:-1]
        return [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]


def unpack_response(message: Buffer) -> tuple[ResponseHead, memoryview]:
    """Return the head of a response and the beginning of its body.

    Raises:
        ValueError: The header lines do not end where the size says; `pack_response` never writes
            such a message.
    """
    view = memoryview(message)
    status, close, length, size = unpack_prefix(view)
    end = PREFIX_BYTES + size
    block = bytes(view[PREFIX_BYTES:end])
    lines = _END + block
    if not lines.endswith(_END) or HEAD_END in lines or view[end : end + len(_END)] != _END:
        raise ValueError(f"{block!r} is not a valid block of headers.")
    head = ResponseHead(status, block, None if length == _NO_LENGTH else length, bool(close))
    return head, view[end + len(_END) :]


def status_of(message: Buffer) -> int:
    """Return only the status of a response."""
    status: int = _STATUS.unpack_from(message)[0]
    return status


def _address(address: tuple[str, int | None] | None) -> bytes:
    return b"" if address is None else f"{address[0]} {address[1] or 0}".encode()


@lru_cache(maxsize=1024)
def _unpack_peer(peer: bytes) -> tuple[str, tuple[str, int] | None, tuple[str, int] | None]:
    scheme, client, server = peer.decode().split("\0")
    return scheme, _parse_address(client), _parse_address(server)


def _parse_address(text: str) -> tuple[str, int] | None:
    if not text:
        return None
    host, _, port = text.rpartition(" ")
    return host, int(port)
