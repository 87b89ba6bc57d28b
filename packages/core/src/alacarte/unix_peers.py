"""User of the peer of a Unix socket."""

from __future__ import annotations

import os
import socket
import struct

__all__ = ["is_same_user"]

_CREDENTIALS = struct.Struct("3i")
"""Process, user and group id, as the kernel returns them for `SO_PEERCRED`."""


def is_same_user(peer: socket.socket) -> bool:
    """Return whether the peer of a Unix socket runs as this process's user.

    True where the system has no `SO_PEERCRED`: only this user can enter the sockets' directory.
    """
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return bool(_CREDENTIALS.unpack(raw)[1] == os.getuid())
