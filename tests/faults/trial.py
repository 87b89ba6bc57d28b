"""What the scenarios of the life cycle share: how large they are, and what they say of a load."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tests.faults.figures import Figure, percentile
from tests.faults.load import Load
from tests.faults.systems import ALACARTE, RAY_SERVE

__all__ = ["FULL", "PEER", "SHORT", "Scenario", "Size", "latencies", "lost", "main", "pause"]


@dataclass(frozen=True)
class Size:
    """How much a scenario does.

    Attributes:
        name: Of the size.
        requests: Of each load.
        rate: Requests a second, where the scenario has no reason for another.
        rounds: How often something is done to the instance.
        seconds: How long a state lasts that is only looked at.
    """

    name: str
    requests: int
    rate: float
    rounds: int
    seconds: float


FULL = Size("full", 20_000, 300, 10, 30)
PEER = Size("peer", 2_400, 100, 2, 15)
"""What Ray Serve is asked for beside a full run: enough to see how it does."""
SHORT = Size("short", 1_200, 100, 2, 5)


class Scenario(Protocol):
    """Does something to a system under load, and returns the figures. Its docstring says what."""

    __doc__: str | None

    def __call__(self, system: str, size: Size) -> list[Figure]: ...


def lost(what: str, load: Load, allowed: int = 0, why: str = "") -> Figure:
    """How many requests failed, of how many; and what went wrong with them."""
    kinds = sorted(load.failures.items(), key=lambda each: -each[1])
    told = "; ".join(f"{count} × {problem}" for problem, count in kinds[:2])
    text = f"{load.failed:,} of {load.count:,}" + (f" ({told})" if told else "")
    target = f"≤ {allowed:,}{why}" if allowed else "0"
    name = f"{what}: failed" if what else "failed"
    return Figure(name, load.failed, "", target, load.failed <= allowed, text)


def latencies(what: str, load: Load, most_ms: float = 0.0) -> Figure:
    """The middle, the 99th percentile and the longest of the times of what was answered."""
    times = [each.took * 1000 for each in load.exchanges if not each.problem]
    text = " / ".join(f"{percentile(times, share):,.0f}" for share in (0.5, 0.99, 1)) + " ms"
    longest = max(times, default=0.0)
    name = f"{what}: p50 / p99 / longest" if what else "p50 / p99 / longest"
    target = f"longest ≤ {most_ms:,.0f} ms" if most_ms else ""
    return Figure(name, longest, "ms", target, not most_ms or longest <= most_ms, text)


def pause(until: float) -> None:
    """Return when `time.monotonic` says so."""
    time.sleep(max(until - time.monotonic(), 0))


def main(scenario: Callable[[str, Size], list[Figure]]) -> None:
    """Run a scenario from the command line, on one system; end with 1 where a target was missed."""
    from tests.faults.figures import markdown

    parser = argparse.ArgumentParser(description=scenario.__doc__)
    parser.add_argument("--peer", choices=(ALACARTE, RAY_SERVE), default=ALACARTE)
    parser.add_argument("--full", action="store_true", help="not the short version")
    options = parser.parse_args()
    figures = scenario(options.peer, FULL if options.full else SHORT)
    print(markdown(figures))
    if not all(figure.met for figure in figures):
        raise SystemExit(1)
