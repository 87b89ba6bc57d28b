"""How a process ended: found out about processes that are, and about some that are not, ours."""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import sys

import pytest

from alacarte._cluster.exits import ExitWatch, describe_exit, process_space

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
def test_how_it_is_told(status: int, text: str):
    """A signal has its number and name, an exit its code."""
    assert describe_exit(status) == text


def test_a_killed_process():
    """The signal is known, although the process was not waited for."""
    process = started()
    ended = ExitWatch().watch(process.pid)
    process.kill()
    status = ended.result(30)
    process.communicate()
    assert status is not None
    assert os.WTERMSIG(status) == signal.SIGKILL


def test_processes_that_exit():
    """Each has its own code, in whatever order they end."""
    watch = ExitWatch()
    processes = [started() for _ in range(2)]
    ended = [watch.watch(process.pid) for process in processes]
    for code, process in reversed(list(enumerate(processes, start=3))):
        process.communicate(f"{code}\n")
    assert [future.result(30) for future in ended] == [3 << 8, 4 << 8]


def test_a_process_that_is_gone():
    """Nothing is known of one that had ended before."""
    process = started()
    process.communicate("0\n")
    assert ExitWatch().watch(process.pid).result(30) is None


def test_too_many_open_files(monkeypatch: pytest.MonkeyPatch):
    """How the process ends is not known then, and nothing fails or stays open."""

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


def test_processes_of_one_space():
    """Processes that mean the same by a process id say so."""
    code = "from alacarte._cluster.exits import process_space; print(process_space())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == process_space()
