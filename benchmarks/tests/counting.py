"""A program that loads itself, as those in `programs/` do, without serving anything.

Each unit of work is a loop; COST says how long, as a part of that of the others.
"""

from __future__ import annotations

import json
import os
import sys
import time

LOOP = round(20_000 * float(os.environ["COST"]))


def work(seconds: float) -> dict[str, float]:
    began, units = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        for _ in range(LOOP):
            pass
        units += 1
    return {"units_per_s": units / (time.perf_counter() - began)}


def main() -> None:
    print(json.dumps({"bench": {"ready": True}}), flush=True)
    for line in sys.stdin:
        method, seconds = line.split()
        found = {"work": work}[method](float(seconds))
        print(json.dumps({"bench": found | {"seconds": float(seconds)}}), flush=True)


if __name__ == "__main__":
    main()
