"""Probe whether Ray's control store answers and accepts a token, without a gRPC library.

The kernel accepts connections even for a stopped control store. Ray's client waits for a stopped
control store without a bound, and for a missing one for minutes. When its token is refused, it
retries once a second, 20 times, with a line on stderr each time.
"""

from __future__ import annotations

import re
import socket
import time
from enum import Enum, auto

__all__ = ["GrpcProbeResult", "probe"]

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_METHOD = "/ray.rpc.NodeInfoGcsService/GetClusterId"
"""The first method that Ray's own clients call. It takes an empty message and changes nothing."""
_STATUS = re.compile(rb"grpc-status.(\d+)", re.DOTALL)
"""The status header as gRPC servers send it: a literal name, the value's length, the value."""
_UNAUTHENTICATED = 16
_MAX_BYTES = 65_536
_SETTINGS, _HEADERS, _DATA = 4, 1, 0
_END_STREAM, _END_HEADERS = 1, 4


class GrpcProbeResult(Enum):
    """The outcome of a probe of the control store."""

    ACCEPTED = auto()
    REFUSED = auto()
    """The cluster authenticates callers, and did not accept this token."""
    UNCLEAR = auto()
    """The server answered or hung up unexpectedly, as with TLS."""
    SILENT = auto()
    """The server accepted the connection, and sent nothing."""


def probe(host: str, port: int, limit_s: float, authorization: str = "") -> GrpcProbeResult:
    """Call a method that every Ray version answers, and return the outcome.

    Args:
        limit_s: Time limit for the whole answer.
        authorization: Value of the header `authorization`, "" for no header.

    Raises:
        OSError: The connection is refused.
    """
    deadline = time.monotonic() + limit_s
    with socket.create_connection((host, port), limit_s) as connection:
        answer = b""
        try:
            connection.sendall(_call(f"{host}:{port}", authorization))
            while not (found := _STATUS.search(answer)) and len(answer) < _MAX_BYTES:
                connection.settimeout(max(deadline - time.monotonic(), 0.001))
                more = connection.recv(4096)
                if not more:
                    break
                answer += more
        except TimeoutError:
            return GrpcProbeResult.UNCLEAR if answer else GrpcProbeResult.SILENT
        except OSError:
            return GrpcProbeResult.UNCLEAR
    if found is None:
        return GrpcProbeResult.UNCLEAR
    return (
        GrpcProbeResult.REFUSED if int(found[1]) == _UNAUTHENTICATED else GrpcProbeResult.ACCEPTED
    )


def _call(authority: str, authorization: str) -> bytes:
    """Return the first bytes of a connection: HTTP/2's preface and one call."""
    # HPACK without a dynamic table: static names by index, everything else as literals.
    head = b"\x83\x86" + b"\x04" + _string(_METHOD) + b"\x01" + _string(authority)
    fields = {"te": "trailers", "content-type": "application/grpc"}
    if authorization:
        fields["authorization"] = authorization
    for name, value in fields.items():
        head += b"\x00" + _string(name) + _string(value)
    no_message = b"\x00" * 5
    return (
        _PREFACE
        + _frame(_SETTINGS, 0, 0, b"")
        + _frame(_HEADERS, _END_HEADERS, 1, head)
        + _frame(_DATA, _END_STREAM, 1, no_message)
    )


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4) + payload


def _string(text: str) -> bytes:
    """Return an uncompressed HPACK string; the first byte holds seven bits of its length."""
    raw = text.encode()
    length = len(raw)
    if length < 127:
        return bytes((length,)) + raw
    prefix, length = b"\x7f", length - 127
    while length >= 128:
        prefix += bytes((length % 128 + 128,))
        length //= 128
    return prefix + bytes((length,)) + raw
