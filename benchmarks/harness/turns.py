"""Two checkouts measured in turns: both programs run, and the loads go from one to the other."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace

from .checkouts import Checkout
from .comparison import Round
from .loads import Load, Served
from .peers import PEERS
from .programs import Program
from .run import Run, Settings, Values
from .workloads import Workload

SIDES = ("old", "new")


@dataclass(frozen=True)
class Task:
    """A workload, and those of its loads that are compared; none if it runs as a whole."""

    workload: Workload
    loads: tuple[Load, ...]


@dataclass(frozen=True)
class Comparing:
    """Two checkouts on their way through the workloads.

    Attributes:
        checkouts: Old and new.
        settings: Of every run; `seconds` is the length of a turn.
        turns: Of each checkout under each load in a round.
        problems: What was wrong, for the report.
    """

    checkouts: tuple[Checkout, Checkout]
    settings: Settings
    turns: int
    problems: list[str]

    def round(self, task: Task, number: int) -> Round:
        """Start a workload's program of both checkouts, and measure them in turns.

        The order is old, new, new, old and so on; every other round begins with the new one.
        """
        runs = self._runs(task.workload.name, number)
        if isinstance(task.workload.measure, Served):
            return self._loads(task.workload.measure, task.loads, runs, number)
        found: list[dict[str, list[float]]] = [{}, {}]
        for side in _order(number):
            _add(found[side], task.workload.measure(runs[side]))
        return found[0], found[1]

    def _runs(self, workload: str, number: int) -> list[Run]:
        return [
            Run(
                workload,
                replace(PEERS["alacarte"], name=name),
                checkout.python,
                number,
                self.settings,
                self.problems,
            )
            for name, checkout in zip(SIDES, self.checkouts, strict=True)
        ]

    def _loads(
        self, served: Served, loads: tuple[Load, ...], runs: list[Run], number: int
    ) -> Round:
        found: list[dict[str, list[float]]] = [{}, {}]
        with ExitStack() as stack:
            programs: list[Program] = [stack.enter_context(served.start(run)) for run in runs]
            for run, program in zip(runs, programs, strict=True):
                served.await_ready(run, program)
            # The other loads find the programs warm, and a cold first turn is cold for both.
            for run, program in zip(runs, programs, strict=True):
                loads[0].apply(run, program, self.settings.warmup_s)
            for load in loads:
                for turn in range(self.turns):
                    for side in _order(number + turn):
                        values = load.measure(runs[side], programs[side], self.settings.seconds)
                        _add(found[side], values)
            for program in programs:
                program.check_running()
            for program in programs:  # so that they end side by side
                program.end_input()
        return found[0], found[1]


def _order(number: int) -> tuple[int, int]:
    """Return who is measured first and second in a turn: 0 is old, 1 is new."""
    return (0, 1) if number % 2 == 0 else (1, 0)


def _add(found: dict[str, list[float]], values: Values) -> None:
    for metric, value in values.items():
        found.setdefault(metric, []).append(value)
