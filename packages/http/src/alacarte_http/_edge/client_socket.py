"""The socket under a client's transport: unread bytes, resets, and writes around the transport."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import struct
import termios
from fcntl import ioctl

__all__ = ["has_unread", "is_reset", "reset", "write_now"]

_NO_LINGER = struct.pack("ii", 1, 0)


def has_unread(transport: asyncio.Transport) -> bool:
    """Return whether the kernel holds bytes of the client that the event loop has not read."""
    if transport.is_closing():
        return False
    return ioctl(_descriptor(transport), termios.FIONREAD, bytes(4)) != bytes(4)


def is_reset(transport: asyncio.Transport) -> bool:
    """Return whether the client has reset the connection.

    While reading is paused, the transport does not notice a reset.
    """
    poll = select.poll()
    poll.register(_descriptor(transport), 0)
    return bool(poll.poll(0))


def reset(transport: asyncio.Transport) -> None:
    """Reset the connection, and discard the bytes that the kernel holds for the client."""
    peer = transport.get_extra_info("socket")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()


def write_now(transport: asyncio.Transport, data: bytes) -> bool:
    """Write to the socket past the transport, whose buffer must be empty.

    Returns:
        Whether the kernel took all of `data`.
    """
    try:
        return os.write(_descriptor(transport), data) == len(data)
    except OSError:
        return False


def _descriptor(transport: asyncio.Transport) -> int:
    descriptor: int = transport.get_extra_info("socket").fileno()
    return descriptor
