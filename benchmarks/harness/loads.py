"""A program that answers, and the loads under which it is measured."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from . import cpu
from .programs import Program
from .run import START_TIMEOUT_S, Run, Values


@dataclass(frozen=True)
class Outcome:
    """Figures of a load, and how many of its unit were counted in the same time."""

    values: Values
    amount: float


@dataclass(frozen=True)
class Load:
    """Something done to a running program for a while.

    Attributes:
        name: What its metrics begin with.
        apply: Does it for so many seconds.
    """

    name: str
    apply: Callable[[Run, Program, float], Outcome]

    def measure(self, run: Run, program: Program, seconds: float) -> Values:
        """Return the figures, and the processor time of the program's processes."""
        others = cpu.OTHERS if run.peer.is_serve else "workers"
        before = cpu.sample(program.pid, others)
        outcome = self.apply(run, program, seconds)
        used = cpu.spent(before, cpu.sample(program.pid, others))
        return outcome.values | cpu.per_thousand(self.name, used, outcome.amount)


def _no_check(run: Run, program: Program) -> None:
    """Leave the check of the answers to the loads."""


def _nothing(values: Values) -> Values:
    return {}


@dataclass(frozen=True)
class Served:
    """A workload: a program and its loads, one after the other.

    Attributes:
        program: Among `programs/`; peers without `serve` have their own, with their name in front.
        loads: In order.
        check: Waits for the right answers before anything is measured.
        derive: Figures that follow from those of all loads.
    """

    program: str
    loads: tuple[Load, ...]
    check: Callable[[Run, Program], None] = _no_check
    derive: Callable[[Values], Values] = _nothing

    @contextmanager
    def start(self, run: Run) -> Iterator[Program]:
        """Start the peer's version of the program, for the length of a block."""
        if run.peer.is_serve:
            with run.program(f"{self.program}.py") as program:
                yield program
        else:
            with run.program(f"{run.peer.name}_{self.program}.py", signal.SIGTERM) as program:
                yield program

    def await_ready(self, run: Run, program: Program) -> None:
        """Wait until a started program gives the right answers."""
        if run.peer.is_serve:
            program.finding(START_TIMEOUT_S)
        self.check(run, program)

    def __call__(self, run: Run) -> Values:
        """Run it once on one peer, each load after a warm-up."""
        values: Values = {}
        with self.start(run) as program:
            self.await_ready(run, program)
            for load in self.loads:
                load.apply(run, program, run.settings.warmup_s)
                values |= load.measure(run, program, run.settings.seconds)
            program.check_running()
        return values | self.derive(values)
