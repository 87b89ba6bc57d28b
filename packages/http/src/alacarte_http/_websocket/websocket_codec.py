"""Encoding of WebSocket messages between proxy and replica, without pickle.

    kind u8 | data

| kind | sender | data |
|---|---|---|
| TEXT, BINARY | both | the message; text as UTF-8 |
| CLOSE | both | code u16, reason |
| ACCEPT | replica | size u32 of the subprotocol, subprotocol, head of a response |
| DENY | replica | a response, with the first part of its body |
| BODY | replica | a further part of that body |

The call itself carries the WebSocket handshake in the encoding of `_head_codec.pack_request`.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import NamedTuple

from alacarte.types import Buffer, Message

from .._head_codec import ResponseHead, pack_response, status_of, unpack_response

__all__ = [
    "ACCEPT",
    "BINARY",
    "BODY",
    "CLOSE",
    "DENY",
    "HANDSHAKE_HEADERS",
    "KIND",
    "TEXT",
    "WEBSOCKET",
    "Accept",
    "denied_with",
    "pack_accept",
    "pack_close",
    "pack_denial",
    "unpack_accept",
    "unpack_close",
    "unpack_denial",
]

WEBSOCKET = "websocket"
"""Name of the protocol of WebSocket calls."""

TEXT, BINARY, CLOSE, ACCEPT, DENY, BODY = range(1, 7)
KIND = {kind: bytes((kind,)) for kind in (TEXT, BINARY, CLOSE, ACCEPT, DENY, BODY)}
"""The encoded first byte of each kind."""

_CODE = Struct("<H")
_SIZE = Struct("<I")
# Headers of the WebSocket handshake that the proxy writes itself.
HANDSHAKE_HEADERS = frozenset(
    (
        b"connection",
        b"content-length",
        b"sec-websocket-accept",
        b"sec-websocket-extensions",
        b"sec-websocket-protocol",
        b"upgrade",
    )
)
_MAX_REASON_BYTES = 123


class Accept(NamedTuple):
    """The application's acceptance of a WebSocket handshake.

    Attributes:
        subprotocol: The subprotocol that it chose, b"" for none.
        lines: Header lines, each ended with CR LF.
    """

    subprotocol: bytes
    lines: bytes

    def pack(self) -> bytes:
        """Return the ACCEPT message in one piece."""
        head = ResponseHead(200, self.lines, None, False).pack()
        return b"".join((KIND[ACCEPT], _SIZE.pack(len(self.subprotocol)), self.subprotocol, head))


def pack_close(code: int, reason: str) -> Message:
    """Return a CLOSE message.

    Raises:
        ValueError: The reason has more than 123 bytes, the limit of a close frame.
    """
    text = reason.encode()
    if len(text) > _MAX_REASON_BYTES:
        raise ValueError(
            f"the reason of a close has {len(text)} bytes; the limit is {_MAX_REASON_BYTES}."
        )
    return (KIND[CLOSE] + _CODE.pack(code) + text,)


def unpack_close(message: Buffer) -> tuple[int, str]:
    """Return the code and the reason of a CLOSE message."""
    (code,) = _CODE.unpack_from(message, 1)
    return code, bytes(message[1 + _CODE.size :]).decode()


def pack_accept(subprotocol: str | None, headers: Iterable[tuple[bytes, bytes]]) -> Message:
    """Return an ACCEPT message in pieces.

    Raises:
        ValueError: A header or the subprotocol would break its line.
    """
    chosen = (subprotocol or "").encode("ascii")
    # The subprotocol becomes a header's value: check it as one.
    pack_response(200, ((b"sec-websocket-protocol", chosen),))
    own = [header for header in headers if header[0].lower() not in HANDSHAKE_HEADERS]
    return (KIND[ACCEPT], _SIZE.pack(len(chosen)), chosen, pack_response(200, own))


def unpack_accept(message: Buffer) -> Accept:
    """Return the contents of an ACCEPT message."""
    view = memoryview(message)
    (size,) = _SIZE.unpack_from(view, 1)
    start = 1 + _SIZE.size
    head, _ = unpack_response(view[start + size :])
    return Accept(bytes(view[start : start + size]), head.block)


def pack_denial(status: int, headers: Iterable[tuple[bytes, bytes]], body: Buffer = b"") -> Message:
    """Return a DENY message with the application's response.

    Raises:
        ValueError: See `pack_response`.
    """
    return (KIND[DENY], pack_response(status, headers), body)


def denied_with(message: Buffer) -> int | None:
    """Return the status of a DENY message, None for any other message."""
    return status_of(memoryview(message)[1:]) if message[0] == DENY else None


def unpack_denial(message: Buffer) -> tuple[ResponseHead, memoryview]:
    """Return the response in a DENY message and the beginning of its body."""
    return unpack_response(memoryview(message)[1:])
