"""Read processes from the kernel: their tree, processor time, memory and listening ports."""

from __future__ import annotations

import os
import time
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
CPUCLOCK_SCHED = 2  # of the kernel's clocks of a process, the one that counts nanoseconds


def _stat(pid: int) -> list[str]:
    # The command may hold spaces and parentheses; the fields begin after the last of them.
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


def descendants(root: int) -> set[int]:
    """List all processes below `root`, itself excluded, zombies too."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
            except OSError:  # gone since it was listed
                continue
    found: set[int] = set()
    pending = [root]
    while pending:
        below = children.get(pending.pop(), [])
        found.update(below)
        pending.extend(below)
    return found


def cpu_seconds(pids: set[int]) -> dict[int, float]:
    """Give the processor time each process has used so far, to the nanosecond.

    The kernel's clock of a process (`clock_getcpuclockid`) counts what `/proc/PID/stat` rounds to
    hundredths of a second.
    """
    used = {}
    for pid in pids:
        try:
            used[pid] = time.clock_gettime((~pid << 3) | CPUCLOCK_SCHED)
        except OSError:
            continue
    return used


def ended_children_seconds(pid: int) -> float:
    """Give the processor time of a process's children that have ended and were waited for."""
    fields = _stat(pid)
    return (int(fields[13]) + int(fields[14])) / TICKS_PER_S


def command(pid: int) -> str:
    """Return the command line of a process, or the title it gave itself."""
    words = (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ")
    return words.decode(errors="replace").strip()


def settle(root: int, busy: float = 0.3, quiet_s: float = 1.0, limit_s: float = 20.0) -> float:
    """Wait until the processes below `root` use less than `busy` of one core.

    Ray starts idle workers ahead of need, and their imports would compete with the first
    seconds of a measurement.

    Returns:
        How long it took, in seconds; about `limit_s` if they never grew quiet.
    """
    began = time.monotonic()
    while time.monotonic() - began < limit_s:
        before = cpu_seconds(descendants(root))
        time.sleep(quiet_s)
        after = cpu_seconds(descendants(root))
        if sum(used - before.get(pid, 0.0) for pid, used in after.items()) < busy * quiet_s:
            break
    return time.monotonic() - began


def memory_mb(pid: int) -> dict[str, float]:
    """Give a process's resident (`rss`), proportional (`pss`) and own (`uss`) memory, in MB."""
    kilobytes: dict[str, int] = {}
    for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:]:
        name, amount, *_ = line.split()
        kilobytes[name.rstrip(":")] = int(amount)
    own = kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]
    return {
        "rss": kilobytes["Rss"] / 1024,
        "pss": kilobytes["Pss"] / 1024,
        "uss": own / 1024,
    }


def peak_mb(pid: int) -> float:
    """Give the most resident memory a process has ever had, in MB; the kernel keeps it."""
    for line in (PROC / str(pid) / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"the kernel keeps no peak of the memory of process {pid}")


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("net/tcp", "net/tcp6"):
        try:
            lines = (PROC / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) == port and fields[3] == "0A":
                inodes.add(f"socket:[{fields[9]}]")
    return inodes


def listeners(port: int, among: set[int]) -> set[int]:
    """Find which of the processes `among` hold the socket that listens on `port`."""
    inodes = _listening_inodes(port)
    found = set()
    for pid in among:
        try:
            descriptors = list((PROC / str(pid) / "fd").iterdir())
        except OSError:
            continue
        for descriptor in descriptors:
            try:
                if os.readlink(descriptor) in inodes:
                    found.add(pid)
                    break
            except OSError:
                continue
    return found
