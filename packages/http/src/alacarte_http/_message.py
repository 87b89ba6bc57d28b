"""HTTP requests and responses between proxy and replica: bytes as they are, no pickle.

    head size u32 | count u32 | count × length u32 | the texts, one after another | body

A request's texts are method, path, raw path, query, root path, HTTP version, scheme, client and
server, then header names and values in turn. A response's are its status, then headers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any

from alacarte.types import Buffer

__all__ = ["pack_request", "pack_response", "unpack_request", "unpack_response"]

Headers = Sequence[tuple[bytes, bytes]]
_HEAD = Struct("<II")
_REQUEST_TEXTS = 9
_ASGI = {"version": "3.0", "spec_version": "2.4"}


@lru_cache(maxsize=256)
def _lengths(count: int) -> Struct:
    return Struct(f"<{count}I")


def _pack(texts: list[bytes]) -> bytes:
    count = len(texts)
    lengths = _lengths(count).pack(*map(len, texts))
    joined = b"".join(texts)
    return _HEAD.pack(_HEAD.size + len(lengths) + len(joined), count) + lengths + joined


def _unpack(message: Buffer) -> tuple[list[bytes], memoryview]:
    """Return the texts, and the body as a view of the message."""
    view = memoryview(message)
    size, count = _HEAD.unpack_from(view)
    at = _HEAD.size + 4 * count
    head = bytes(view[:size])
    texts = []
    for length in _lengths(count).unpack_from(head, _HEAD.size):
        texts.append(head[at : at + length])
        at += length
    return texts, view[size:]


def _flat(headers: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    return [text for header in headers for text in header]


def _pairs(texts: list[bytes]) -> list[tuple[bytes, bytes]]:
    return list(zip(texts[::2], texts[1::2], strict=True))


def pack_request(scope: Any, root_path: str) -> bytes:
    """Return the head of a request from its ASGI scope.

    Args:
        root_path: What the application is mounted under.
    """
    client, server = scope.get("client"), scope.get("server")
    return _pack(
        [
            scope["method"].encode(),
            scope["path"].encode("utf-8", "surrogateescape"),
            scope["raw_path"],
            scope["query_string"],
            root_path.encode(),
            scope["http_version"].encode(),
            scope["scheme"].encode(),
            _address(client),
            _address(server),
            *_flat(scope["headers"]),
        ]
    )


def unpack_request(message: Buffer) -> tuple[dict[str, Any], memoryview]:
    """Return the ASGI scope of a request, and the part of its body that came with it."""
    texts, body = _unpack(message)
    method, path, raw_path, query, root_path, version, scheme, client, server = texts[
        :_REQUEST_TEXTS
    ]
    scope = {
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
    return scope, body


def pack_response(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the head of a response."""
    return _pack([b"%d" % status, *_flat(headers)])


def unpack_response(message: Buffer) -> tuple[int, list[tuple[bytes, bytes]], memoryview]:
    """Return a response's status and headers, and the part of its body that came with it."""
    texts, body = _unpack(message)
    return int(texts[0]), _pairs(texts[1:]), body


def _address(address: tuple[str, int | None] | None) -> bytes:
    return b"" if address is None else f"{address[0]} {address[1] or 0}".encode()


def _pair(text: bytes) -> tuple[str, int] | None:
    if not text:
        return None
    host, _, port = text.decode().rpartition(" ")
    return host, int(port)
