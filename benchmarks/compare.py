"""Run the same programs on two checkouts in turns, and say which figures have changed.

Standard library only. See README.md for how it works and how to read it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from harness import comparison, comparison_report, machine
from harness.checkouts import Checkout, checkout
from harness.comparison import Comparison, Round
from harness.loads import Served
from harness.peers import PEERS, SetupError, listed, versions
from harness.programs import ProgramError, adopt_orphans
from harness.run import Settings
from harness.turns import Comparing, Task
from harness.workloads import WORKLOADS

RESULTS = Path(__file__).resolve().parent / "results"
DEFAULT = "hello,two_hop,bodies,chunks,route,websocket,handles,stream"
MIN_ROUNDS = 2


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("old", help="a folder with packages/, or a revision of this repository")
    parser.add_argument("new", help="the same, for what may have become slower")
    parser.add_argument(
        "--only",
        default=DEFAULT,
        help=f"workloads ({DEFAULT}), or single loads of theirs, as download_1_mb",
    )
    parser.add_argument("--rounds", type=int, default=6, help="new processes for each (6)")
    parser.add_argument("--minutes", type=float, help="as many rounds as fit, instead of --rounds")
    parser.add_argument("--turns", type=int, default=6, help="of each under each load, a round (6)")
    parser.add_argument("--seconds", type=float, default=1, help="of a turn (1)")
    parser.add_argument(
        "--threshold", type=float, default=3, help="least change to name, in %% (3)"
    )
    parser.add_argument("--quick", action="store_true", help="does it work? figures are noise")
    parser.add_argument("--check", action="store_true", help="exit 1 if a figure is slower")
    parser.add_argument(
        "--prepare", action="store_true", help="make the environments, and measure nothing"
    )
    parser.add_argument("--output", type=Path, default=RESULTS / "compare", help="without suffix")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.turns, options.seconds, options.minutes = MIN_ROUNDS, 2, 1, None
    return options


def _tasks(only: str) -> list[Task]:
    """Choose the workloads and loads to compare."""
    ours = [workload for workload in WORKLOADS if "alacarte" in workload.peers]
    loads = {
        workload.name: workload.measure.loads if isinstance(workload.measure, Served) else ()
        for workload in ours
    }
    names = [each.name for group in loads.values() for each in group]
    asked = listed(only, [*loads, *names], "workload or load")
    tasks = []
    for workload in ours:
        chosen = tuple(
            each for each in loads[workload.name] if workload.name in asked or each.name in asked
        )
        if chosen or workload.name in asked:
            tasks.append(Task(workload, chosen))
    return tasks


def _tell(progress: str) -> None:
    print(progress, file=sys.stderr, flush=True)


def _measure(
    comparing: Comparing, tasks: list[Task], rounds: int, limit_s: float | None
) -> dict[str, list[Round]]:
    """Run all rounds, each through all workloads, so that a slow minute hits a part of each."""
    found: dict[str, list[Round]] = {task.workload.name: [] for task in tasks}
    began = time.monotonic()
    done = 0
    while done < rounds if limit_s is None else done < MIN_ROUNDS or _fits(began, done, limit_s):
        for task in tasks:
            name = task.workload.name
            _tell(f"round {done + 1}, {name}, after {time.monotonic() - began:.0f} s")
            try:
                found[name].append(comparing.round(task, done))
            except KeyboardInterrupt:
                comparing.problems.append(f"interrupted in round {done + 1}")
                return found
            except (ProgramError, OSError, ValueError, subprocess.TimeoutExpired) as error:
                # One workload's failure must not cost the rest of a long run.
                comparing.problems.append(f"{name}, round {done + 1}: {error}")
                _tell(f"  failed: {error}")
        done += 1
    return found


def _fits(began: float, done: int, limit_s: float) -> bool:
    """Tell whether one more round, as long as those done, ends in time."""
    passed = time.monotonic() - began
    return passed * (done + 1) / done <= limit_s


def _compare(
    tasks: list[Task], found: dict[str, list[Round]], threshold: float
) -> list[Comparison]:
    compared = []
    for task in tasks:
        rounds = found[task.workload.name]
        metrics = {metric for sides in rounds for side in sides for metric in side}
        for figure in comparison.figures(task.workload.name, task.loads, metrics):
            compared.append(comparison.compare(figure, rounds, threshold))
    return [each for each in compared if each is not None]


def main() -> int:
    options = _arguments()
    adopt_orphans()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that blocks clean up
    temporary = Path(tempfile.mkdtemp(prefix="bench-", dir="/tmp"))  # Ray's sockets need it short
    problems: list[str] = []
    try:
        tasks = _tasks(options.only)
        old, new = checkouts = (checkout(options.old), checkout(options.new))
        if options.prepare:
            return 0
        settings = Settings(
            seconds=options.seconds,
            warmup_s=1,
            imports=3,
            abort_warmup=2_000,
            abort_requests=20_000,
            large_bytes=100 * 10**6,
            raw=RESULTS / "raw",
            temporary=temporary,
        )
        facts = machine.describe() | {"checkouts": [_facts(each) for each in (old, new)]}
        comparing = Comparing(checkouts, settings, options.turns, problems)
        limit_s = None if options.minutes is None else 60 * options.minutes
        found = _measure(comparing, tasks, options.rounds, limit_s)
    except SetupError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    compared = _compare(tasks, found, options.threshold / 100)
    stated = {
        "seconds": options.seconds,
        "turns": options.turns,
        "rounds": min((len(rounds) for rounds in found.values()), default=0),
        "threshold": options.threshold,
    }
    text = comparison_report.markdown(facts, stated, compared, problems)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.with_suffix(".md").write_text(text)
    everything = {"machine": facts, "settings": stated, "rounds": found, "problems": problems}
    options.output.with_suffix(".json").write_text(json.dumps(everything, indent=2) + "\n")
    print(text)
    slower = any(each.answer == "slower" for each in compared)
    return 1 if problems or (options.check and slower) else 0


def _facts(one: Checkout) -> dict[str, Any]:
    return {"label": one.label, "versions": versions(PEERS["alacarte"], one.python)}


if __name__ == "__main__":
    sys.exit(main())
