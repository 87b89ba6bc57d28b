"""The opening handshake of a WebSocket (RFC 6455, section 4.2). Pure functions."""

from __future__ import annotations

import binascii

from .._edge.head import Head
from .._local_response import LocalResponse
from .._websocket_frames import accept_key
from .websocket_codec import Accept

__all__ = ["refusal_of", "write_accept"]

_KEY = b"sec-websocket-key"
_VERSION = b"sec-websocket-version"
_KEY_BYTES = 16


def refusal_of(head: Head) -> LocalResponse | None:
    """Return the refusal of an invalid WebSocket handshake, None for a valid one."""
    headers = head.headers
    if head.method != "GET":
        return LocalResponse(405, "A WebSocket handshake must use GET.", ((b"allow", b"GET"),))
    if [value for name, value in headers if name == _VERSION] != [b"13"]:
        return LocalResponse(426, "The supported WebSocket version is 13.", ((_VERSION, b"13"),))
    keys = [value for name, value in headers if name == _KEY]
    if len(keys) != 1 or not _is_key(keys[0]):
        return LocalResponse(
            400, "A WebSocket handshake must have one Sec-WebSocket-Key of 16 bytes in base64."
        )
    return None


def write_accept(head: Head, accept: Accept, request_id: str) -> bytes:
    """Return the encoded response that opens the WebSocket."""
    key = next(value for name, value in head.headers if name == _KEY)
    lines = [
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"upgrade: websocket\r\nconnection: Upgrade\r\n"
        b"sec-websocket-accept: %b\r\n" % accept_key(key.decode("ascii")).encode()
    ]
    if accept.subprotocol:
        lines.append(b"sec-websocket-protocol: %b\r\n" % accept.subprotocol)
    lines += [accept.lines, b"x-request-id: %b\r\n\r\n" % request_id.encode()]
    return b"".join(lines)


def _is_key(value: bytes) -> bool:
    try:
        return len(binascii.a2b_base64(value, strict_mode=True)) == _KEY_BYTES
    except binascii.Error:
        return False
