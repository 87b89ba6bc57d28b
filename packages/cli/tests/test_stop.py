from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from alacarte_cli.stop import Stopped, StopSignals


@pytest.fixture
def died() -> list[int]:
    return []


@pytest.fixture
def stop(died: list[int]) -> Iterator[StopSignals]:
    stop = StopSignals(die=died.append)
    stop.arm()
    yield stop
    stop.restore()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_interrupts(stop: StopSignals, number: int) -> None:
    """Either signal raises `Stopped` with its number, wherever the program is."""
    with pytest.raises(Stopped) as caught:
        signal.raise_signal(number)
    assert caught.value.number == number


def test_waiting_ends_with_a_signal(stop: StopSignals) -> None:
    """A signal interrupts `wait`."""
    sender = threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGTERM))

    def send_and_wait() -> None:
        sender.start()
        stop.wait(threading.Event().wait)

    with pytest.raises(Stopped):
        send_and_wait()
    sender.join()


def test_waiting_ends_with_the_end(stop: StopSignals) -> None:
    """`wait` returns when the end has come, without a signal."""
    answers = [False, True]
    stop.wait(lambda timeout_s: answers.pop(0))
    assert answers == []


STUCK = """
import ctypes, os, threading
from alacarte_cli.stop import StopSignals

def say_when_stuck():
    # The system call in which the main thread is, and its first argument: none when it runs.
    while open(f"/proc/self/task/{os.getpid()}/syscall").read().split()[1:2] != [hex(address)]:
        pass
    print("stuck", flush=True)

StopSignals(patience_s=0.1).arm()
library, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
address = ctypes.addressof(mutex)
library.pthread_mutex_lock(mutex)
threading.Thread(target=say_when_stuck, daemon=True).start()
library.pthread_mutex_lock(mutex)
"""
"""A program that waits for a mutex in C: no signal ends the wait, no Python handler runs."""


def test_a_main_thread_that_is_stuck_outside_of_python() -> None:
    """A signal ends a stuck program, with the signal's exit code and a message."""
    with subprocess.Popen(
        [sys.executable, "-c", STUCK], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "stuck\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "exiting at once: a call into Ray does not return" in err


def test_the_second_signal_ends_at_once(stop: StopSignals, died: list[int]) -> None:
    """A second signal ends the process at once, with the signal's exit code."""
    with pytest.raises(Stopped):
        signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)
    assert died == [130]


def test_deferred_the_first_signal_only_prints_a_message(
    stop: StopSignals, died: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    """Deferred signals do not interrupt the shutdown; the second one ends the process."""
    stop.defer()
    signal.raise_signal(signal.SIGINT)
    assert "again to exit at once" in capfd.readouterr().err
    assert died == []
    signal.raise_signal(signal.SIGTERM)
    assert died == [143]


def test_signals_taken_by_others_are_taken_back(stop: StopSignals) -> None:
    """Arming again after `ray.init`, which takes SIGTERM, and restoring what was before all."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    stop.arm()
    assert signal.getsignal(signal.SIGTERM) == before
    stop.restore()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
