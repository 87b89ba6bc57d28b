"""HTTP requests and responses between proxy and replica: bytes as they are, no pickle.

    head size u32 | texts, with line feeds between them | body

A request's texts: method, path as sent, query, root path, HTTP version, ends of the connection, and
header names and values in turn. No part of a request's head can hold a line feed.

A response: status u16 | close u16 | content length i64 | size u32 | header lines | CR LF | body

What follows the four numbers is the rest of a response in HTTP/1.1: it can be sent as it is.
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
    "pack_ends",
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
"""Bytes of a response in front of its header lines."""
unpack_prefix = _RESPONSE.unpack_from
"""Status, close, content length (negative without one) and size of a response's header lines."""
HEAD_END = b"\r\n\r\n"
"""The end of the last header line, and the empty line behind it."""
_END = b"\r\n"
_STATUS = Struct("<H")
_NO_LENGTH = -1
_MEANINGFUL = frozenset((b"content-length", b"connection", b"transfer-encoding", b"x-request-id"))
# Transfer-Encoding is the server's to choose, and the proxy echoes the request's id itself.
_LEFT_OUT = frozenset((b"transfer-encoding", b"x-request-id"))
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BREAKS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_CONTROLS = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""The same without the two that end a line."""
_ASGI = {"version": "3.0", "spec_version": "2.4"}


def decode_path(raw_path: bytes) -> str:
    """Return a path without its percent-encoding."""
    text = raw_path.decode("latin-1")
    return unquote(text) if "%" in text else text


def pack_ends(
    secure: bool,
    client: tuple[str, int | None] | None,
    server: tuple[str, int | None] | None,
) -> bytes:
    """Return the two ends of a client's connection, as a request carries them.

    Args:
        secure: TLS is between them.
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
    ends: bytes = b"http\0\0",
) -> bytes:
    """Return the head of a request.

    Args:
        raw_path: The path as sent, percent-encoded.
        query: What follows the path's question mark.
        root_path: What the application is mounted under.
        ends: See `pack_ends`.

    Raises:
        ValueError: One of the texts holds a line feed.
    """
    texts = b"\n".join(
        (
            method.encode(),
            raw_path,
            query,
            root_path,
            version.encode(),
            ends,
            *chain.from_iterable(headers),
        )
    )
    if texts.count(b"\n") != _REQUEST_TEXTS - 1 + 2 * len(headers):
        raise ValueError("a line feed in a request's head")
    return _HEAD.pack(_HEAD.size + len(texts)) + texts


def split_request(message: Buffer) -> tuple[memoryview, memoryview]:
    """Return the head of a request, and the part of its body that came with it."""
    view = memoryview(message)
    (size,) = _HEAD.unpack_from(view)
    return view[:size], view[size:]


def unpack_scope(head: memoryview) -> dict[str, Any]:
    """Return the ASGI scope of a request from its head."""
    method, raw_path, query, root_path, version, ends, *headers = bytes(head[_HEAD.size :]).split(
        b"\n"
    )
    scheme, client, server = _unpack_ends(ends)
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
    """Return the ASGI scope of a request, and the part of its body that came with it."""
    head, body = split_request(message)
    return unpack_scope(head), body


def pack_response(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the head of a response.

    The headers are written out here, in the replica, so that the proxy has nothing to do with them
    one by one.

    Raises:
        ValueError: The status is none of a response; a header's name or value would break out of
            its line; Content-Length is no number, or given twice.
    """
    if not 200 <= status <= 599:
        raise ValueError(f"{status} is not the status of a response.")
    lines = []
    length, close = _NO_LENGTH, False
    pairs = [*headers]  # an application may give a generator
    for name, value in pairs:
        lowered = _header_name(bytes(name))
        if lowered in _MEANINGFUL:
            if lowered in _LEFT_OUT:
                _check_value(lowered, value)
                continue
            if lowered == b"content-length":
                if not value.isdigit() or length not in (_NO_LENGTH, int(value)):
                    _check_value(lowered, value)
                    raise ValueError(f"Content-Length is {value!r}: must be one number.")
                length = int(value)
            else:
                close = b"close" in [token.strip() for token in value.lower().split(b",")]
        lines.append(b"%b: %b\r\n" % (lowered, value))
    block = b"".join(lines)
    # One look at all of them; who breaks out of a line has more of these than lines.
    if _CONTROLS.search(block) or not block.count(b"\r") == block.count(b"\n") == len(lines):
        for name, value in pairs:
            _check_value(name, value)
        raise ValueError(f"{block!r} is no block of headers.")
    return b"".join((_RESPONSE.pack(status, close, length, len(block)), block, _END))


def pack_value_head(content_type: bytes, length: int, status: int = 200) -> bytes:
    """Return the head of a response with these two headers alone, which nobody needs to check.

    Args:
        content_type: Its value.
        length: Of the body, in bytes.
    """
    block = b"content-length: %d\r\ncontent-type: %b\r\n\r\n" % (length, content_type)
    return _RESPONSE.pack(status, False, length, len(block) - len(_END)) + block


@lru_cache(maxsize=512)
def _header_name(name: bytes) -> bytes:
    """Return a header's name in lower case.

    Raises:
        ValueError: It is none.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a header name.")
    return name.lower()


def _check_value(name: bytes, value: bytes) -> None:
    if _BREAKS.search(value):
        raise ValueError(f"header {name.decode()}: {value!r} holds a control character.")


def check_headers(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Check the headers that a layer gives a request.

    Raises:
        ValueError: A name or value would break out of its line.
    """
    for name, value in headers:
        _header_name(name)
        _check_value(name, value)


@lru_cache(maxsize=64)
def check_method(method: str) -> None:
    """Check the method that a layer gives a request.

    Raises:
        ValueError: It is none.
    """
    if not _NAME.fullmatch(method.encode("latin-1")):
        raise ValueError(f"{method!r} is not a method of HTTP.")


class ResponseHead(NamedTuple):
    """The head of a response, as a replica wrote it.

    Attributes:
        block: Its headers as lines of HTTP/1.1, each ended.
        length: What Content-Length among them says, None without.
        close: One of them is `Connection: close`.
    """

    status: int
    block: bytes
    length: int | None
    close: bool

    def pack(self) -> bytes:
        """Return the head as `pack_response` writes it."""
        length = _NO_LENGTH if self.length is None else self.length
        prefix = _RESPONSE.pack(self.status, self.close, length, len(self.block))
        return b"".join((prefix, self.block, _END))

    def with_length(self, length: int) -> ResponseHead:
        """Return the head with a Content-Length, where it has none."""
        return self._replace(block=self.block + b"content-length: %d\r\n" % length, length=length)

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers one by one."""
        lines = self.block.split(b"\r\n")[:-1]
        return [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]


def unpack_response(message: Buffer) -> tuple[ResponseHead, memoryview]:
    """Return a response's head, and the part of its body that came with it.

    Raises:
        ValueError: Its header lines end elsewhere than it says, which `pack_response` never writes.
    """
    view = memoryview(message)
    status, close, length, size = unpack_prefix(view)
    end = PREFIX_BYTES + size
    block = bytes(view[PREFIX_BYTES:end])
    lines = _END + block
    if not lines.endswith(_END) or HEAD_END in lines or view[end : end + len(_END)] != _END:
        raise ValueError(f"{block!r} is no block of headers.")
    head = ResponseHead(status, block, None if length == _NO_LENGTH else length, bool(close))
    return head, view[end + len(_END) :]


def status_of(message: Buffer) -> int:
    """Return a response's status alone."""
    status: int = _STATUS.unpack_from(message)[0]
    return status


def _address(address: tuple[str, int | None] | None) -> bytes:
    return b"" if address is None else f"{address[0]} {address[1] or 0}".encode()


@lru_cache(maxsize=1024)
def _unpack_ends(ends: bytes) -> tuple[str, tuple[str, int] | None, tuple[str, int] | None]:
    scheme, client, server = ends.decode().split("\0")
    return scheme, _pair(client), _pair(server)


def _pair(text: str) -> tuple[str, int] | None:
    if not text:
        return None
    host, _, port = text.rpartition(" ")
    return host, int(port)
