"""How a process of this machine ended that is nobody's child here: by which signal, or code.

Only a parent may wait for a process, and the parent of ours is Ray, which does not tell. So the
kernel is asked at the moment of the end: by the process's `stat`, which shows how it ended until
its parent has heard of it, or since Linux 6.15 by its pidfd, at any time.
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

from .host import host_id

__all__ = ["ExitWatch", "describe_exit", "process_space"]

_INFO = struct.Struct("QQ11Ii")
"""Linux's `struct pidfd_info`: what is asked for, the control group, eleven ids, the status."""
_INFO_EXIT = 1 << 3
_LOOKS = 5
_LOOK_S = 0.01
_GET_INFO = 3 << 30 | _INFO.size << 16 | 0xFF << 8 | 11


def process_space() -> str:
    """Return a string that is the same for processes which mean the same by a process id."""
    try:
        return f"{host_id()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux
        return ""


def describe_exit(status: int) -> str:
    """Return how a process ended, from its wait status, as the end of a sentence about it."""
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
    """Keeps processes in sight in a thread of its own, which is started when it is needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._poll: select.epoll | None = None
        self._watched: dict[int, tuple[int, Future[int | None]]] = {}

    def watch(self, pid: int) -> Future[int | None]:
        """Return a future of a process's wait status, None where it cannot be known."""
        ended: Future[int | None] = Future()
        try:
            pidfd = os.pidfd_open(pid)
        except (AttributeError, OSError):  # not Linux; it is gone; too many open files
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
            except OSError:  # too many open files, or watched ones
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
    """Return the wait status of a process that has just ended, None where nobody says."""
    for _ in range(_LOOKS):
        # At once: its parent hears of the end at the same moment, and removes it.
        status = _zombie_status(pid)
        if status is None:
            status = _pidfd_status(pidfd)
        if status is not None:
            return status
        time.sleep(_LOOK_S)  # its parent is at it just now
    return None


def _zombie_status(pid: int) -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name before may hold blanks and parentheses; the status is the last field.
            fields = file.read().rpartition(b")")[2].split()
        if fields[0] in (b"Z", b"X"):  # ended; and being removed
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
