"""All scenarios, one after the other: `python -m tests.faults [--cluster local] [name …]`."""

from __future__ import annotations

import argparse
import importlib
import os
import time

from tests.faults.figures import markdown

SCENARIOS = (
    "slowloris",
    "slow_clients",
    "flood",
    "smuggling",
    "oversized",
    "broken_sockets",
    "vanishing",
    "deadlines",
    "handshakes",
    "large_bodies",
    "body_memory",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(SCENARIOS))
    parser.add_argument("--cluster", choices=("ray", "local"), default="ray")
    options = parser.parse_args()
    missed = 0
    for name in options.names or SCENARIOS:
        scenario = importlib.import_module(f"tests.faults.{name}").scenario
        began = time.monotonic()
        figures = scenario(options.cluster)
        missed += sum(not figure.met for figure in figures)
        load = os.getloadavg()[0]
        print(f"### {name}\n\n{scenario.__doc__} On the {options.cluster} cluster,")
        print(f"in {time.monotonic() - began:.0f} s, with a load average of {load:.1f}.\n")
        print(markdown(figures) + "\n", flush=True)
    if missed:
        raise SystemExit(f"{missed} targets missed")


if __name__ == "__main__":
    main()
