"""What the kernel says about processes: who exists, and who listens where."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

__all__ = ["children", "listeners", "pids_mentioning"]

_PROC = Path("/proc")
_LISTEN = "0A"


def pids_mentioning(text: str) -> list[int]:
    """Return the processes whose command line holds a text, this one left out."""
    return [pid for pid in _pids() if pid != os.getpid() and text in _command(pid)]


def children(root: int) -> set[int]:
    """Return all processes below one."""
    parents = {pid: parent for pid in _pids() if (parent := _parent(pid)) is not None}
    found: set[int] = set()
    while more := {pid for pid, parent in parents.items() if parent in found | {root}} - found:
        found |= more
    return found


def listeners() -> dict[int, set[tuple[str, int]]]:
    """Return the TCP addresses that each of this user's processes listens on."""
    sockets = dict(_listening())
    found: dict[int, set[tuple[str, int]]] = defaultdict(set)
    for pid in _pids():
        for inode in _open_sockets(pid):
            if inode in sockets:
                found[pid].add(sockets[inode])
    return dict(found)


def _listening() -> Iterator[tuple[str, tuple[str, int]]]:
    for table in ("tcp", "tcp6"):
        lines = (_PROC / "net" / table).read_text().splitlines()[1:]
        for fields in map(str.split, lines):
            if fields[3] == _LISTEN:
                host, port = fields[1].split(":")
                yield fields[9], (_address(host), int(port, 16))


def _address(text: str) -> str:
    # Each 32-bit word is in the machine's byte order, which is little-endian where tests run.
    words = [bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8)]
    packed = b"".join(words)
    return str(IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed))


def _open_sockets(pid: int) -> Iterator[str]:
    try:
        for entry in (_PROC / str(pid) / "fd").iterdir():
            target = os.readlink(entry)
            if target.startswith("socket:["):
                yield target[len("socket:[") : -1]
    except OSError:  # it ended meanwhile, or is not ours
        return


def _pids() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


def _command(pid: int) -> str:
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode("latin-1")
    except OSError:
        return ""


def _parent(pid: int) -> int | None:
    try:
        # The name may hold blanks and parentheses: what follows the last of them is regular.
        return int((_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None
