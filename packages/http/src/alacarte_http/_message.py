"""HTTP requests and responses between proxy and replica: bytes as they are, no pickle.

    head size u32 | count u32 | count × length u32 | the texts, one after another | body

A request's texts: method, path, raw path, query, root path, HTTP version, scheme, client and
server, then header names and values in turn.

A response: status u16 | close u16 | content length i64 | size u32 | header lines | body
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import accumulate, pairwise
from struct import Struct
from typing import Any, NamedTuple

from alacarte.types import Buffer

__all__ = [
    "HTTP",
    "ResponseHead",
    "pack_request",
    "pack_response",
    "pack_value_head",
    "split_request",
    "status_of",
    "unpack_request",
    "unpack_response",
    "unpack_scope",
]

HTTP = "http"
"""Name of the protocol of HTTP calls."""

_HEAD = Struct("<II")
_REQUEST_TEXTS = 9
_RESPONSE = Struct("<HHqI")
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


@lru_cache(maxsize=256)
def _lengths(count: int) -> Struct:
    return Struct(f"<{count}I")


def _pack(texts: list[bytes]) -> bytes:
    count = len(texts)
    lengths = _lengths(count).pack(*map(len, texts))
    joined = b"".join(texts)
    return _HEAD.pack(_HEAD.size + len(lengths) + len(joined), count) + lengths + joined


def _unpack(head: bytes) -> list[bytes]:
    """Return the texts of a head."""
    _, count = _HEAD.unpack_from(head)
    at = _HEAD.size + 4 * count
    ends = list(accumulate(_lengths(count).unpack_from(head, _HEAD.size), initial=at))
    return [head[start:end] for start, end in pairwise(ends)]


def _flat(headers: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    return [text for header in headers for text in header]


def _pairs(texts: list[bytes]) -> list[tuple[bytes, bytes]]:
    return list(zip(texts[::2], texts[1::2], strict=True))


def pack_request(
    method: str,
    path: str,
    raw_path: bytes,
    query: bytes,
    version: str,
    headers: Iterable[tuple[bytes, bytes]],
    *,
    root_path: str = "",
    scheme: str = "http",
    client: tuple[str, int | None] | None = None,
    server: tuple[str, int | None] | None = None,
) -> bytes:
    """Return the head of a request.

    Args:
        path: The path, decoded.
        raw_path: The path as sent.
        query: What follows the path's question mark.
        root_path: What the application is mounted under.
        client: Address of the client.
        server: Address that the client connected to.
    """
    return _pack(
        [
            method.encode(),
            path.encode("utf-8", "surrogateescape"),
            raw_path,
            query,
            root_path.encode(),
            version.encode(),
            scheme.encode(),
            _address(client),
            _address(server),
            *_flat(headers),
        ]
    )


def split_request(message: Buffer) -> tuple[memoryview, memoryview]:
    """Return the head of a request, and the part of its body that came with it."""
    view = memoryview(message)
    size, _ = _HEAD.unpack_from(view)
    return view[:size], view[size:]


def unpack_scope(head: memoryview) -> dict[str, Any]:
    """Return the ASGI scope of a request from its head."""
    texts = _unpack(bytes(head))
    method, path, raw_path, query, root_path, version, scheme, client, server = texts[
        :_REQUEST_TEXTS
    ]
    return {
        "type": "http",
        "asgi": _ASGI,
        "http_version": version.decode(),
        "method": method.decode(),
        "scheme": scheme.decode(),
        "path": path.decode("utf-8", "surrogateescape"),
        "raw_path": raw_path,
        "query_string": query,
        "root_path": root_path.decode(),
        "headers": _pairs(texts[_REQUEST_TEXTS:]),
        "client": _pair(client),
        "server": _pair(server),
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
    return _RESPONSE.pack(status, close, length, len(block)) + block


def pack_value_head(content_type: bytes, length: int, status: int = 200) -> bytes:
    """Return the head of a response with these two headers alone, which nobody needs to check.

    Args:
        content_type: Its value.
        length: Of the body, in bytes.
    """
    block = b"content-length: %d\r\ncontent-type: %b\r\n" % (length, content_type)
    return _RESPONSE.pack(status, False, length, len(block)) + block


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
        return _RESPONSE.pack(self.status, self.close, length, len(self.block)) + self.block

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers one by one."""
        lines = self.block.split(b"\r\n")[:-1]
        return [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]


def unpack_response(message: Buffer) -> tuple[ResponseHead, memoryview]:
    """Return a response's head, and the part of its body that came with it."""
    view = memoryview(message)
    status, close, length, size = _RESPONSE.unpack_from(view)
    end = _RESPONSE.size + size
    block = bytes(view[_RESPONSE.size : end])
    head = ResponseHead(status, block, None if length == _NO_LENGTH else length, bool(close))
    return head, view[end:]


def status_of(message: Buffer) -> int:
    """Return a response's status alone."""
    status: int = _STATUS.unpack_from(message)[0]
    return status


@lru_cache(maxsize=1024)
def _address(address: tuple[str, int | None] | None) -> bytes:
    return b"" if address is None else f"{address[0]} {address[1] or 0}".encode()


@lru_cache(maxsize=1024)
def _pair(text: bytes) -> tuple[str, int] | None:
    if not text:
        return None
    host, _, port = text.decode().rpartition(" ")
    return host, int(port)
