"""Exit statuses of processes of this machine that are not children of this process.

Only a parent may wait for a process, and the parent of alacarte's processes is Ray, which does not
report the status. So this module reads the status from the kernel at the moment of the exit:
from `/proc/<pid>/stat`, which shows it until the parent has reaped the process, or, since Linux
6.15, from the pidfd, which shows it at any time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import struct
import threading
import time
from concurrent.futures import Future

from .host_sockets import host_id

__all__ = ["ExitWatch", "describe_exit", "pid_namespace"]

_INFO = struct.Struct("QQ11Ii")
"""Linux's `struct pidfd_info`: the requested fields, the control group, eleven ids, the status."""
_INFO_EXIT = 1 << 3
_MAX_ATTEMPTS = 5
_RETRY_INTERVAL_S = 0.01
_GET_INFO = 3 << 30 | _INFO.size << 16 | 0xFF << 8 | 11


def pid_namespace() -> str:
    """Return an id of the host and its PID namespace, in which process ids are unique."""
    try:
        return f"{host_id()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux
        return ""


def describe_exit(status: int) -> str:
    """Return how a process ended, from its wait status: "exited with code 1"."""
    if not os.WIFSIGNALED(status):
        return f"exited with code {os.waitstatus_to_exitcode(status)}"
    number = os.WTERMSIG(status)
    try:
        name = f" ({signal.Signals(number).name})"
    except ValueError:  # a real-time signal
        name = ""
    perhaps = ", perhaps by the kernel's out-of-memory killer" if number == signal.SIGKILL else ""
    return f"was killed by signal {number}{name}{perhaps}"


class ExitWatch:
    """A watch for the exits of processes, in a thread that starts with the first of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._poll: select.epoll | None = None
        self._watched: dict[int, tuple[int, Future[int | None]]] = {}

    def watch(self, pid: int) -> Future[int | None]:
        """Return a future of a process's wait status, None where the status is unknown."""
        ended: Future[int | None] = Future()
        try:
            pidfd = os.pidfd_open(pid)
        except (AttributeError, OSError):  # not Linux; already gone; too many open files
            ended.set_result(None)
            return ended
        with self._lock:
            self._watched[pidfd] = (pid, ended)
            try:
                if self._poll is None:
                    self._poll = select.epoll()
                    threading.Thread(
                        target=self._follow, name="alacarte-exits", daemon=True
                    ).start()
                self._poll.register(pidfd, select.EPOLLIN)
            except OSError:  # too many open or watched files
                del self._watched[pidfd]
                os.close(pidfd)
                ended.set_result(None)
        return ended

    def _follow(self) -> None:
        assert self._poll is not None
        while True:
            for pidfd, _ in self._poll.poll():
                with self._lock:
                    pid, ended = self._watched.pop(pidfd)
                status = _status(pid, pidfd)
                self._poll.unregister(pidfd)
                os.close(pidfd)
                ended.set_result(status)


def _status(pid: int, pidfd: int) -> int | None:
    """Return the wait status of a process that has just ended, None where it is unknown."""
    for _ in range(_MAX_ATTEMPTS):
        # Without delay: the kernel notifies the parent at the same moment, to reap the process.
        status = _zombie_status(pid)
        if status is None:
            status = _pidfd_status(pidfd)
        if status is not None:
            return status
        time.sleep(_RETRY_INTERVAL_S)  # the parent is reaping the process
    return None


def _zombie_status(pid: int) -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The command name may hold blanks and parentheses; the status is the last field.
            fields = file.read().rpartition(b")")[2].split()
        if fields[0] in (b"Z", b"X"):  # a zombie; being removed
            return int(fields[-1])
    return None


def _pidfd_status(pidfd: int) -> int | None:
    info = bytearray(_INFO.size)
    _INFO.pack_into(info, 0, _INFO_EXIT, *[0] * 13)
    with contextlib.suppress(OSError):
        fcntl.ioctl(pidfd, _GET_INFO, info)
        found, *_, status = _INFO.unpack(info)
        if found & _INFO_EXIT:
            return int(status)
    return None
