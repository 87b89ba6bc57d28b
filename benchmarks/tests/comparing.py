"""Compare two checkouts that differ in what a unit of work costs, in a process of its own.

The runner ends whatever is below it, which must not be what belongs to other tests.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import comparison, cpu
from harness.checkouts import Checkout
from harness.programs import adopt_orphans
from harness.run import Settings
from harness.turns import Comparing, Task
from harness.web import calls
from harness.workloads import Workload

FOLDER, NEW_COST = Path(sys.argv[1]), sys.argv[2]
SERVED = calls(str(Path(__file__).with_name("counting")), ("units", "work", "units_per_s"))


def main() -> None:
    adopt_orphans()
    problems: list[str] = []
    settings = Settings(
        seconds=0.1,
        warmup_s=0.1,
        imports=0,
        abort_warmup=0,
        abort_requests=0,
        large_bytes=0,
        raw=FOLDER,
        temporary=FOLDER,
    )
    checkouts = (_checkout("old", "1"), _checkout("new", NEW_COST))
    comparing = Comparing(checkouts, settings, 3, problems)
    task = Task(Workload("counting", SERVED), SERVED.loads)
    rounds = [comparing.round(task, number) for number in range(3)]
    metrics = {metric for side in rounds[0] for metric in side}
    compared = {
        figure.metric: comparison.compare(figure, rounds, 0.03)
        for figure in comparison.figures("counting", SERVED.loads, metrics)
    }
    found = compared[cpu.metric("units")]
    assert found is not None
    print(json.dumps({"answer": found.answer, "ratio": found.ratio, "problems": problems}))


def _checkout(name: str, cost: str) -> Checkout:
    """Return a checkout whose Python runs with another COST."""
    python = FOLDER / name
    python.write_text(f'#!/bin/sh\nCOST={cost} exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return Checkout(name, "", False, "", python)


if __name__ == "__main__":
    main()
