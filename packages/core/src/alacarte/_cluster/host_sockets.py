"""Unix sockets of the processes of one host: their directory, paths, and removal."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import socket
import tempfile

__all__ = ["host_id", "socket_dir", "socket_path", "sweep_sockets"]


def host_id() -> str:
    """Return an id of this host and its mount of `/tmp`, equal where Unix sockets are shared."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot = file.read().strip()
    except OSError:
        boot = socket.gethostname()
    tmp = os.stat(tempfile.gettempdir())
    return hashlib.sha256(f"{boot} {tmp.st_dev} {tmp.st_ino}".encode()).hexdigest()[:16]


def socket_dir() -> str:
    """Return the directory for this user's sockets; create the directory if it is missing.

    Raises:
        PermissionError: Another user owns the directory, or may enter it.
    """
    # Short: the path of a Unix socket may have at most 107 characters.
    path = os.path.join(tempfile.gettempdir(), f"alacarte-{os.getuid()}")
    os.makedirs(path, mode=0o700, exist_ok=True)
    found = os.lstat(path)
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(
            f"{path} must belong to this user and be closed to others (mode 700); remove it, or "
            "set TMPDIR."
        )
    return path


def socket_path(directory: str) -> str:
    """Return a new path for a Unix socket of this process."""
    return os.path.join(directory, f"{os.getpid()}-{secrets.token_hex(6)}.sock")


def sweep_sockets(directory: str) -> None:
    """Remove the sockets of killed processes, which could not remove them."""
    for name in os.listdir(directory):
        pid = name.partition("-")[0]
        if not name.endswith(".sock") or (pid.isdigit() and os.path.exists(f"/proc/{pid}")):
            continue
        path = os.path.join(directory, name)
        # The process may run in another PID namespace: only a refused connection is proof.
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(FileNotFoundError):
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)
