"""Tell whether a server that speaks gRPC is awake, without speaking gRPC.

One that is stopped still has its connections accepted: by the kernel. Ray waits for such a one
without a bound when a program joins its cluster, and for one that is gone for minutes.
"""

from __future__ import annotations

import socket

__all__ = ["is_awake"]

# How every HTTP/2 connection begins, and an empty SETTINGS frame. The server owes its own at once.
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


def is_awake(host: str, port: int, limit_s: float) -> bool:
    """Return whether whoever listens there says something, or hangs up, in that time.

    Raises:
        OSError: Nobody listens.
    """
    with socket.create_connection((host, port), limit_s) as connection:
        try:
            connection.sendall(_HELLO)
            connection.recv(1)
        except TimeoutError:
            return False
        except OSError:
            pass
    return True
