"""A run of a workload on a peer: settings, programs and problems."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .peers import Peer, environment
from .programs import PROGRAMS, Program, free_port, is_listening, running

START_TIMEOUT_S = 180
Values = dict[str, float]


@dataclass(frozen=True)
class Settings:
    """Length and load of the measurements."""

    seconds: float
    warmup_s: float
    imports: int
    abort_warmup: int
    abort_requests: int
    large_bytes: int
    raw: Path
    temporary: Path


@dataclass
class Run:
    """A run of a workload on a peer."""

    workload: str
    peer: Peer
    python: Path
    repeat: int
    settings: Settings
    problems: list[str]
    port: int = field(default_factory=free_port)

    @property
    def log(self) -> Path:
        return self.settings.raw / f"{self.workload}-{self.peer.name}-{self.repeat}.log"

    @contextmanager
    def program(self, name: str, ask: signal.Signals | None = None) -> Iterator[Program]:
        """Run one of `programs/` and clean up after it."""
        temporary = self.settings.temporary / f"{self.workload[:4]}{os.urandom(2).hex()}"
        env = environment(
            self.peer,
            PYTHONUNBUFFERED="1",
            BENCH_PORT=str(self.port),
            BENCH_SECONDS=str(self.settings.seconds),
            BENCH_WARMUP_S=str(self.settings.warmup_s),
            BENCH_TMP=str(temporary),
            MOSEC_ADDRESS="127.0.0.1",
            MOSEC_PORT=str(self.port),
            MOSEC_LOG_LEVEL="warning",
        )
        try:
            with running(
                [self.python, PROGRAMS / name], env, self.log, self.problems, ask
            ) as program:
                yield program
            if is_listening(self.port):
                self.problems.append(f"{self.log.stem}: port still open after the end")
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def complain(self, what: str) -> None:
        """Note what was wrong with a result that is reported all the same."""
        self.problems.append(f"{self.log.stem}: {what}")
