"""Running a program in a session of its own, and leaving nothing of it behind."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import queue
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from programs.processes import descendants

PROGRAMS = Path(__file__).resolve().parent.parent / "programs"
STOP_TIMEOUT_S = 60
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
LIBC = ctypes.CDLL(None)


class ProgramError(Exception):
    """A program failed, hung, or answered wrongly; the message ends with its last words."""


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent dies, so that all can be found.

    Ray's processes start sessions of their own and rewrite what `/proc` shows of them; the
    process tree is the one thing they cannot leave.
    """
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _end_with_runner() -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def free_port() -> int:
    """Pick a TCP port nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_listening(port: int) -> bool:
    """Tell whether anything accepts connections on a local port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Program:
    """A running program: its output goes to a log, its findings to `findings`."""

    def __init__(self, command: Sequence[str | Path], env: dict[str, str], log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        self._findings: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._errors = log.open("w")
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=env,
            start_new_session=True,
            preexec_fn=_end_with_runner,  # even if the runner is killed outright
        )
        _running.add(self)
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def pid(self) -> int:
        return self.process.pid

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with contextlib.suppress(ValueError):
                found = json.loads(line)
                if isinstance(found, dict) and "bench" in found:
                    self._findings.put(found["bench"])
                    continue
            with contextlib.suppress(ValueError):  # the log is closed once we have stopped
                self._errors.write(line)
        self._findings.put(None)

    def finding(self, timeout_s: float) -> dict[str, Any]:
        """Wait for the next line of JSON the program reports.

        Raises:
            ProgramError: It ended, or said nothing in time.
        """
        try:
            found = self._findings.get(timeout=timeout_s)
        except queue.Empty:
            raise ProgramError(f"no result within {timeout_s:.0f} s{self._last_words()}") from None
        if found is None:
            raise ProgramError(f"ended without a result{self._last_words()}")
        return found

    def tell(self, line: str) -> None:
        """Write a line to the program's standard input.

        Raises:
            ProgramError: It has ended.
        """
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{line}\n")
            self.process.stdin.flush()
        except OSError:
            raise ProgramError(f"does not listen any more{self._last_words()}") from None

    def end_input(self) -> None:
        """Close the program's standard input, which tells those of `serve` to end."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def check_running(self) -> None:
        """Raise if the program has ended."""
        if (code := self.process.poll()) is not None:
            raise ProgramError(f"ended with exit code {code}{self._last_words()}")

    def _last_words(self) -> str:
        self._errors.flush()
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line]
        return "; its last words (" + self.log.name + "):\n  " + "\n  ".join(lines[-12:])

    def stop(self, ask: signal.Signals | None, patience_s: float, *, failed: bool) -> str | None:
        """End the program and all it started, by asking first.

        Args:
            ask: A signal; standard input is closed in any case.
            patience_s: How long it may take.
            failed: It is known to have failed, so its exit code is no news.

        Returns:
            What it left undone, if anything.
        """
        complaint = None
        self.end_input()
        if ask is not None and self.process.poll() is None:
            self.process.send_signal(ask)
        try:
            self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            complaint = f"did not end within {patience_s:.0f} s and was killed"
            self.process.kill()
            self.process.wait()
        else:
            ended_well = self.process.returncode in (0, -signal.SIGTERM, -signal.SIGINT)
            if not (failed or ended_well):
                complaint = f"ended with exit code {self.process.returncode}{self._last_words()}"
        _running.discard(self)
        # Whatever is below this runner then belongs to nobody else.
        left = [] if _running else _end(min(10.0, patience_s))
        self._errors.close()
        if left and complaint is None:
            complaint = "left processes behind, now killed: " + ", ".join(left)
        return complaint


_running: set[Program] = set()


def _end(patience_s: float) -> list[str]:
    """Wait until nothing this runner's programs started lives; kill what does not go."""
    deadline = time.monotonic() + patience_s
    while left := _alive():
        if time.monotonic() >= deadline:
            break
        time.sleep(0.05)
    names = [_name(pid) for pid in sorted(left)]
    while left := _alive():
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    return names


def _alive() -> set[int]:
    _reap()
    return descendants(os.getpid())


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").strip()
        return f"{pid} {words.decode(errors='replace')[:60]}"
    return str(pid)


@contextlib.contextmanager
def running(
    command: Sequence[str | Path],
    env: dict[str, str],
    log: Path,
    problems: list[str],
    ask: signal.Signals | None = None,
) -> Iterator[Program]:
    """Run a program for the length of a block; note in `problems` how it failed to end."""
    program = Program(command, env, log)
    patience_s: float = STOP_TIMEOUT_S
    failed = True
    try:
        yield program
        failed = False
    except Exception:
        patience_s = 10
        raise
    except BaseException:  # interrupted: leave at once
        patience_s = 0
        raise
    finally:
        if complaint := program.stop(ask, patience_s, failed=failed):
            problems.append(f"{log.stem}: {complaint}")
