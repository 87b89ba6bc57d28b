"""Tell who is at the other end of a Unix socket."""

from __future__ import annotations

import os
import socket
import struct

__all__ = ["is_same_user"]

_CREDENTIALS = struct.Struct("3i")
"""Process, user and group, as the kernel reports them for `SO_PEERCRED`."""


def is_same_user(peer: socket.socket) -> bool:
    """Return whether the process at the other end of a Unix socket runs as our user.

    Where the system cannot say so, the answer is yes: the sockets lie in a directory that admits
    our user alone.
    """
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return bool(_CREDENTIALS.unpack(raw)[1] == os.getuid())
