"""Ask a gRPC server for an answer, without a gRPC library: is Ray's control store awake, and
does it accept this process's token?

A control store that is stopped still has its connections accepted: by the kernel. Ray's client
waits for such a one without a bound, for one that is gone for minutes, and asks one that refuses
its token once a second, 20 times, with a line on stderr for each.
"""

from __future__ import annotations

import re
import socket
import time
from enum import Enum, auto

__all__ = ["ProbeResult", "probe"]

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_METHOD = "/ray.rpc.NodeInfoGcsService/GetClusterId"
"""What Ray's own clients call first. It changes nothing and takes an empty message."""
_STATUS = re.compile(rb"grpc-status.(\d+)", re.DOTALL)
"""A header as gRPC's servers send it: a name as it is, the length of the value, the value."""
_UNAUTHENTICATED = 16
_MAX_BYTES = 65_536
_SETTINGS, _HEADERS, _DATA = 4, 1, 0
_END_STREAM, _END_HEADERS = 1, 4


class ProbeResult(Enum):
    """How a control store answered."""

    ACCEPTED = auto()
    REFUSED = auto()
    """Its cluster authenticates, and this was not its token."""
    UNCLEAR = auto()
    """Something answered or hung up, but not as expected: TLS, for example."""
    SILENT = auto()


def probe(host: str, port: int, limit_s: float, authorization: str = "") -> ProbeResult:
    """Call a method that every Ray answers, and return how it went.

    Args:
        limit_s: For the whole answer.
        authorization: The header of that name, "" for none.

    Raises:
        OSError: Nobody listens.
    """
    give_up_at = time.monotonic() + limit_s
    with socket.create_connection((host, port), limit_s) as connection:
        answer = b""
        try:
            connection.sendall(_call(f"{host}:{port}", authorization))
            while not (found := _STATUS.search(answer)) and len(answer) < _MAX_BYTES:
                connection.settimeout(max(give_up_at - time.monotonic(), 0.001))
                more = connection.recv(4096)
                if not more:
                    break
                answer += more
        except TimeoutError:
            return ProbeResult.UNCLEAR if answer else ProbeResult.SILENT
        except OSError:
            return ProbeResult.UNCLEAR
    if found is None:
        return ProbeResult.UNCLEAR
    return ProbeResult.REFUSED if int(found[1]) == _UNAUTHENTICATED else ProbeResult.ACCEPTED


def _call(authority: str, authorization: str) -> bytes:
    """Return a connection's first bytes: HTTP/2's preface and one call."""
    # Of HPACK only what needs no table of our own: static names by index, all else as it is.
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
    """Return an HPACK string, not compressed; its length has seven bits in the first byte."""
    raw = text.encode()
    length = len(raw)
    if length < 127:
        return bytes((length,)) + raw
    prefix, length = b"\x7f", length - 127
    while length >= 128:
        prefix += bytes((length % 128 + 128,))
        length //= 128
    return prefix + bytes((length,)) + raw
