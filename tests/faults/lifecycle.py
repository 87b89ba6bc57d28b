"""What happens to an instance while it works, in one run, beside Ray Serve on the same load.

    python -m tests.faults.lifecycle --short            # some minutes: does everything run?
    python -m tests.faults.lifecycle --full --peer      # the figures of docs/reference/faults.md

Prints Markdown; ends with 1 where alacarte missed a target.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
import traceback

from tests.faults.figures import Figure
from tests.faults.systems import ALACARTE, RAY_SERVE
from tests.faults.trial import FULL, PEER, SHORT, Scenario, Size

__all__ = ["SCENARIOS", "table"]

SCENARIOS = {
    "rolling_update": "Rolling update",
    "scaling": "More replicas, and fewer",
    "replica_kill": "A replica is killed",
    "frozen_replica": "A replica hangs",
    "failing_start": "A version does not start",
    "failing_health": "Health checks fail",
    "controller_kill": "The controller is killed",
    "proxy_kill": "The proxy is killed",
    "node_removed": "A node is gone",
    "overload": "More than can be done",
    "metastability": "Capacity goes and comes back",
    "slow_dependency": "A dependency is slow",
    "poison": "Poisonous requests",
    "canary": "A bad canary",
    "oom": "Out of memory",
    "chaos": "Everything at random",
}
"""Module and title; each in an instance of its own."""
_OURS = ("canary", "chaos")
"""What says nothing about others: they have no such thing, or have promised nothing of it."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.lifecycle",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(SCENARIOS))
    parser.add_argument("--full", action="store_true", help="every load at full size")
    parser.add_argument("--short", action="store_true", help="(what happens without --full)")
    parser.add_argument("--peer", action="store_true", help="Ray Serve as well")
    options = parser.parse_args()
    ours = FULL if options.full else SHORT
    theirs = PEER if options.full else SHORT
    missed = 0
    for name in options.names or SCENARIOS:
        scenario: Scenario = importlib.import_module(f"tests.faults.{name}").scenario
        began = time.monotonic()
        print(f"### {SCENARIOS[name]}\n\n{_said(scenario)}", end="", flush=True)
        found = _attempt(scenario, ALACARTE, ours)
        missed += sum(not figure.met for figure in found)
        asked = options.peer and name not in _OURS
        peer = _attempt(scenario, RAY_SERVE, theirs) if asked else []
        print(f"\n{table(found, peer)}\n")
        print(f"_{_conditions(ours, theirs if peer else None, began)}_\n", flush=True)
    if missed:
        raise SystemExit(f"{missed} targets missed")


def _attempt(scenario: Scenario, system: str, size: Size) -> list[Figure]:
    """Run a scenario; one that cannot be completed is a figure too."""
    try:
        return scenario(system, size)
    except Exception as error:  # whatever it is, the other scenarios are still of interest
        traceback.print_exc(file=sys.stderr)
        return [Figure("completed", 0, "", "yes", False, f"no: {type(error).__name__}: {error}")]


def _said(scenario: Scenario) -> str:
    lines = [line.strip() for line in (scenario.__doc__ or "").strip().splitlines()]
    return "\n".join(lines) + "\n"


def _conditions(ours: Size, theirs: Size | None, began: float) -> str:
    text = f"{ours.requests:,} requests at {ours.rate:g}/s where a load has no other measure"
    if theirs is not None and theirs != ours:
        text += f", {theirs.requests:,} at {theirs.rate:g}/s for Ray Serve"
    load = os.getloadavg()[0]
    return f"{text}; {time.monotonic() - began:.0f} s, load average {load:.1f}."


def table(ours: list[Figure], theirs: list[Figure]) -> str:
    """Return the figures of both beside one another, in the order of ours."""
    peers = {figure.name: figure for figure in theirs}
    names = {figure.name: figure.target for figure in [*ours, *theirs]}
    mine = {figure.name: figure for figure in ours}
    rows = [["what", "promise", "alacarte"], ["---", "---", "---"]]
    rows += [[name, target, _cell(mine.get(name))] for name, target in names.items()]
    if theirs:
        rows[0].append("Ray Serve 2.60")
        rows[1].append("---")
        for row in rows[2:]:
            row.append(_cell(peers.get(row[0])))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return "–"
    return figure.shown if figure.met else f"**{figure.shown}**"


if __name__ == "__main__":
    main()
