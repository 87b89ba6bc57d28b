"""R1–R3: replicas killed under load. `python -m tests.faults.replica_kill [--peer ray_serve]`"""

from __future__ import annotations

import math
import os
import signal
import time
from collections import Counter
from statistics import median

from tests.faults.figures import Figure, at_most, exactly
from tests.faults.load import Load, good_load
from tests.faults.systems import ALACARTE, System, running
from tests.faults.trial import Size, latencies, lost, main, pause

__all__ = ["OPTIONS", "kill_some", "scenario"]

OPTIONS = {"num_replicas": 3, "max_ongoing_requests": 20}


def scenario(system: str, size: Size) -> list[Figure]:
    """One of three replicas is killed with `kill -9` now and then.

    Requests are POSTs, which may not be sent again; then GETs, of which alacarte is told that they
    may (`retry_methods`).
    """
    more = {"retry_methods": ["GET"]} if system == ALACARTE else {}
    with running(system, **more) as it:
        it.deploy("v0", options=OPTIONS)
        return [*kill_some(it, size), *kill_some_again(it, size)]


def start_s(it: System) -> float:
    """Return how long one replica of an application takes, from its deployment to its answer."""
    began = time.monotonic()
    it.deploy("v0", app="beta", prefix="/beta", options={"num_replicas": 1})
    took_s = time.monotonic() - began
    it.ask("delete", app="beta")
    return took_s


def kill_some(it: System, size: Size) -> list[Figure]:
    """Kill replicas under requests that may not run twice."""
    alone_s = start_s(it)
    load, killed = _kill_under(it, size, target="/count?", method="POST")
    executed = Counter((it.folder / "counted").read_text().split())
    figures = [
        Figure("POST: replicas killed", len(killed)),
        lost("POST", load, _in_flight(load, killed), " (in flight then)"),
        exactly("POST: executed twice", sum(count > 1 for count in executed.values()), 0),
        at_most("POST: slowest failure after the death", _slowest(load, killed) * 1000, 250, "ms"),
        latencies("POST", load),
        _full_again(load, killed, alone_s),
    ]
    if it.name == ALACARTE:
        unsafe = sum(
            each.headers.get("retry-safe") != "no" for each in load.exchanges if each.problem
        )
        figures.insert(3, exactly("POST: failures without `retry-safe: no`", unsafe, 0))
    return figures


def kill_some_again(it: System, size: Size) -> list[Figure]:
    """Kill replicas under requests that may be sent elsewhere."""
    load, killed = _kill_under(it, size)
    return [
        Figure("GET: replicas killed", len(killed)),
        lost("GET, which may be sent again", load),
        latencies("GET", load),
    ]


def _kill_under(it: System, size: Size, **plan: str) -> tuple[Load, dict[int, float]]:
    """Kill `size.rounds` replicas under a load; return it, and when each was killed."""
    killed: dict[int, float] = {}
    every_s = size.requests / size.rate / (size.rounds + 1)
    with good_load(
        it.port, rate=size.rate, app="alpha", timeout_s=10, count=size.requests, **plan
    ) as load:
        began = time.monotonic()
        for turn in range(size.rounds):
            pause(began + (turn + 0.5) * every_s)
            victim = next(pid for pid in it.replicas().values() if pid not in killed)
            os.kill(victim, signal.SIGKILL)
            killed[victim] = time.monotonic()
    return load, killed


def _in_flight(load: Load, killed: dict[int, float]) -> int:
    """How many requests may have been in flight where they were lost.

    Every request that was under way at the moment of a death, as an upper bound: on which replica
    it was is not known from outside.
    """
    return sum(
        any(each.due <= at <= each.ended for at in killed.values()) for each in load.exchanges
    )


def _slowest(load: Load, killed: dict[int, float]) -> float:
    after = [
        min((each.ended - at for at in killed.values() if at <= each.ended), default=0.0)
        for each in load.exchanges
        if each.problem
    ]
    return max(after, default=0.0)


def _full_again(load: Load, killed: dict[int, float], alone_s: float) -> Figure:
    """The time from a death to the first answer of a process that had not answered before."""
    first: dict[str, float] = {}
    for each in load.exchanges:
        if not each.problem:
            first[each.replica] = min(first.get(each.replica, each.ended), each.ended)
    times = []
    for at in killed.values():
        later = [when for when in first.values() if when > at]
        times.append(min(later, default=float("inf")) - at)
    limit = 2 * alone_s
    seen = f"{median(times):.2f} s, at most {max(times):.2f} s (a start takes {alone_s:.2f} s)"
    return Figure(
        "POST: full capacity again after",
        max(times),
        "s",
        "≤ 2 × a replica's start",
        max(times) <= limit,
        seen if max(times) < math.inf else "not before the end of the load",
    )


if __name__ == "__main__":
    main(scenario)
