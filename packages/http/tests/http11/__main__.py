"""Compare the server with the model: `python -m http11 100000 --jobs 2`, or one `--seed 7`."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from .fuzz import run
from .mutations import make_case

_BATCH = 500


def main() -> int:
    """Run what the command line asks for; return 1 where the server and the model differ."""
    parser = argparse.ArgumentParser(prog="http11", description=__doc__)
    parser.add_argument("count", nargs="?", type=int, default=10_000, help="how many streams")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes that run them")
    parser.add_argument("--seed", type=int, help="only this one")
    asked = parser.parse_args()
    began, differences = time.monotonic(), 0
    counts: Counter[str] = Counter()
    seeds = range(asked.first, asked.first + asked.count)
    if asked.seed is not None:
        print(make_case(asked.seed))
        seeds = range(asked.seed, asked.seed + 1)
    batches = [seeds[at : at + _BATCH] for at in range(0, len(seeds), _BATCH)]
    with ProcessPoolExecutor(asked.jobs) as pool:
        for outcome in pool.map(run, batches):
            counts.update(outcome.counts)
            differences += len(outcome.differences)
            for difference in outcome.differences[:3]:
                print(difference, flush=True)
    print(", ".join(f"{count} {name}" for name, count in counts.items()))
    print(f"{differences} differences, {time.monotonic() - began:.0f} s")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
