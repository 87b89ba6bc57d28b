"""Exit statuses of watched processes."""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import sys

import pytest

from alacarte._cluster.exits import ExitWatch, describe_exit, pid_namespace

WAITS = [sys.executable, "-c", "import sys; sys.exit(int(input()))"]


def started() -> subprocess.Popen[str]:
    return subprocess.Popen(WAITS, stdin=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (9, "was killed by signal 9 (SIGKILL), perhaps by the kernel's out-of-memory killer"),
        (11 | 128, "was killed by signal 11 (SIGSEGV)"),
        (3 << 8, "exited with code 3"),
        (0, "exited with code 0"),
        (40, "was killed by signal 40"),
    ],
)
def test_description_of_an_exit(status: int, text: str):
    """A death by signal is described by the signal's number and name, an exit by its code."""
    assert describe_exit(status) == text


def test_a_killed_process():
    """The watch reports the signal, although the test has not waited for its child."""
    process = started()
    ended = ExitWatch().watch(process.pid)
    process.kill()
    status = ended.result(30)
    process.communicate()
    assert status is not None
    assert os.WTERMSIG(status) == signal.SIGKILL


def test_processes_that_exit():
    """The watch reports each process's own exit code, in whatever order they exit."""
    watch = ExitWatch()
    processes = [started() for _ in range(2)]
    ended = [watch.watch(process.pid) for process in processes]
    for code, process in reversed(list(enumerate(processes, start=3))):
        process.communicate(f"{code}\n")
    assert [future.result(30) for future in ended] == [3 << 8, 4 << 8]


def test_a_process_that_is_gone():
    """The status of a process that ended before the watch began is unknown."""
    process = started()
    process.communicate("0\n")
    assert ExitWatch().watch(process.pid).result(30) is None


def test_too_many_open_files(monkeypatch: pytest.MonkeyPatch):
    """Without a free file descriptor the status is unknown; nothing fails or stays open."""

    def full() -> select.epoll:
        raise OSError(errno.EMFILE, "too many open files")

    watch = ExitWatch()
    monkeypatch.setattr(select, "epoll", full)
    before = sorted(os.listdir("/proc/self/fd"))
    assert watch.watch(os.getpid()).result(30) is None
    assert sorted(os.listdir("/proc/self/fd")) == before
    monkeypatch.undo()
    process = started()
    ended = watch.watch(process.pid)
    process.communicate("3\n")
    assert ended.result(30) == 3 << 8


def test_processes_of_one_pid_namespace():
    """Processes that share process ids have equal namespace ids."""
    code = "from alacarte._cluster.exits import pid_namespace; print(pid_namespace())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == pid_namespace()
