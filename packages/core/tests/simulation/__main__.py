"""Run seeds: `python -m simulation 1000`, or repeat one: `--seed 7 --trace`."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from .batches import run_many
from .run import play_all


def main() -> int:
    """Run the command line; return 1 if an invariant was violated."""
    parser = argparse.ArgumentParser(prog="simulation", description=__doc__)
    parser.add_argument("count", nargs="?", type=int, default=100, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=1, help="processes that run them")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--trace", action="store_true", help="print what happens")
    parser.add_argument("--without", nargs="*", default=[], help="faults to leave out")
    asked = parser.parse_args()
    without = frozenset(asked.without)
    if asked.seed is not None:
        return _run_one(asked.seed, without, trace=asked.trace)
    seeds = range(asked.first, asked.first + asked.count)
    began, failed, steps = time.monotonic(), 0, 0
    ends: Counter[str] = Counter()
    for seed, findings, ran, ended in run_many(seeds, without, asked.jobs):
        steps += ran
        ends.update(ended)
        if findings:
            failed += 1
            for finding in findings[:5]:
                print(f"seed {seed}: {finding}", flush=True)
    took = time.monotonic() - began
    requests = ", ".join(f"{count} {end}" for end, count in ends.most_common())
    print(f"{len(seeds)} seeds, {failed} with findings, {steps} steps, {took:.0f} s")
    print(f"requests: {requests}")
    return 1 if failed else 0


def _run_one(seed: int, without: frozenset[str], *, trace: bool) -> int:
    [outcome] = play_all([seed], without)
    for entry in outcome.trace if trace else ():
        print(*entry)
    for finding in outcome.findings:
        print(f"seed {seed}: {finding}")
    print(f"seed {seed}: {outcome.steps} steps, {outcome.took_s:.1f} s, {outcome.digest}")
    return 1 if outcome.findings else 0


if __name__ == "__main__":
    sys.exit(main())
