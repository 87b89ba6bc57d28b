"""The head of a request, and the addresses of its connection. Values only."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from .._head_codec import pack_peer

__all__ = ["Head", "Peer", "peer_of"]

Address = tuple[str, int | None]


class Peer(NamedTuple):
    """The addresses of a client's connection.

    Attributes:
        client: Address of the client, None where the socket has none.
        server: Address that the client connected to.
        secure: The connection uses TLS.
        packed: These values in the encoding of `pack_peer`.
    """

    client: Address | None
    server: Address | None
    secure: bool
    packed: bytes


class Head:
    """The checked head of one request.

    Attributes:
        method: In capitals, as sent.
        raw_path: Path as sent, percent-encoded; `*` for the server as a whole.
        path: Decoded path.
        query: Query string, without the question mark.
        version: "1.1" or "1.0".
        headers: In order, with names in lower case.
        has_body: A body follows the head.
        expects_continue: The client sends its body only after 100 Continue.
        keep_alive: The client allows another request on this connection.
    """

    __slots__ = (
        "expects_continue",
        "has_body",
        "headers",
        "keep_alive",
        "method",
        "path",
        "query",
        "raw_path",
        "version",
    )

    def __init__(
        self,
        method: str,
        raw_path: bytes,
        path: str,
        query: bytes,
        version: str,
        headers: list[tuple[bytes, bytes]],
        has_body: bool = False,
        expects_continue: bool = False,
        keep_alive: bool = True,
    ) -> None:
        self.method = method
        self.raw_path = raw_path
        self.path = path
        self.query = query
        self.version = version
        self.headers = headers
        self.has_body = has_body
        self.expects_continue = expects_continue
        self.keep_alive = keep_alive


def peer_of(transport: asyncio.Transport) -> Peer:
    """Return the addresses of a transport's socket."""
    client = _address(transport.get_extra_info("peername"))
    server = _address(transport.get_extra_info("sockname"))
    secure = bool(transport.get_extra_info("sslcontext"))
    return Peer(client, server, secure, pack_peer(secure, client, server))


def _address(name: object) -> Address | None:
    if isinstance(name, tuple | list) and len(name) >= 2:
        return str(name[0]), int(name[1])
    return (name, None) if isinstance(name, str) and name else None
