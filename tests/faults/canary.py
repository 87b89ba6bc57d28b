"""A bad canary beside a good application, and a shadow. `python -m tests.faults.canary [--full]`"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from tests.faults.figures import Figure, exactly
from tests.faults.load import Load, good_load
from tests.faults.systems import System, running
from tests.faults.trial import Size, latencies, lost, main, pause

__all__ = ["canary_of", "fails", "is_killed", "is_slow", "scenario", "shadow"]

OPTIONS = {"num_replicas": 2, "max_ongoing_requests": 100}
ROUTE = "/"
TURN_S = 1.0
SLOW_S = 0.5
OWN_FAILURE = "http/1.1 500"
_TURNS = 8
"""With and without a shadow; the last one is with it."""
_COUNTS_S, _TOLD_S = 20.0, 1.5
"""For all counts to be told, and from one telling to the next, with room."""


def scenario(system: str, size: Size) -> list[Figure]:
    """All requests go to a canary and back to the stable application, every second in turn.

    The canary fails every other request, or is slow, or is killed again and again. Then it is a
    shadow: good, failing, and slow.
    """
    with running(system) as it:
        it.deploy("stable", options=OPTIONS)
        return [*fails(it, size), *is_slow(it, size), *is_killed(it, size), *shadow(it, size)]


def canary_of(it: System, **arguments: object) -> None:
    """Deploy the canary: an application off HTTP that answers as the stable one does."""
    given = {"app": "alpha", **arguments}
    it.deploy("canary", app="canary", prefix=None, options=OPTIONS, arguments=given)


def fails(it: System, size: Size) -> list[Figure]:
    """A canary that fails every other request: nobody else's fails."""
    canary_of(it, fails=True)
    load, changes_ms = _moved(it, size)
    own = sum(count for what, count in load.failures.items() if what.startswith(OWN_FAILURE))
    share = 100 * own / load.count
    what = "canary that fails every other request"
    return [
        exactly(f"{what}: failed otherwise", load.failed - own, 0),
        # All requests of half of the time are its own, and half of these fail.
        Figure(f"{what}: its own failures", share, "%", "15 to 35 %", 15 <= share <= 35),
        *_common(what, load, changes_ms),
    ]


def is_slow(it: System, size: Size) -> list[Figure]:
    """A slow canary: whoever asks the stable application does not notice."""
    canary_of(it, pause_s=SLOW_S)
    load, changes_ms = _moved(it, size)
    what = f"canary that takes {SLOW_S * 1000:.0f} ms"
    return [lost(what, load), *_common(what, load, changes_ms)]


def is_killed(it: System, size: Size) -> list[Figure]:
    """Each time that the canary has all requests, one of its replicas is killed."""
    canary_of(it)
    killed: list[float] = []

    def kill() -> None:
        pid = next(iter(it.replicas("canary").values()), None)
        if pid is not None:  # else none has come back yet
            os.kill(pid, signal.SIGKILL)
            killed.append(time.monotonic())

    load, changes_ms = _moved(it, size, kill)
    in_flight = sum(any(each.due <= at <= each.ended for at in killed) for each in load.exchanges)
    what = "canary that is killed"
    return [
        Figure(f"{what}: replicas killed", len(killed)),
        lost(what, load, in_flight, " (in flight then)"),
        *_common(what, load, changes_ms),
    ]


def _moved(
    it: System, size: Size, meanwhile: Callable[[], None] | None = None
) -> tuple[Load, list[float]]:
    """Move all requests to the canary and back, every second; return how long changes took, too.

    Args:
        meanwhile: Is called in the middle of each turn of the canary's.
    """
    changes_ms: list[float] = []
    it.ask("set_traffic", route=ROUTE, weights={"alpha": 1.0, "canary": 0.0})
    turns = 2 * max(int(size.requests / size.rate / TURN_S / 2), 1)
    with good_load(it.port, rate=size.rate, app="alpha", timeout_s=10) as load:
        began = time.monotonic()
        for turn in range(turns):
            pause(began + turn * TURN_S)
            share = float(turn % 2 == 0)
            asked = time.monotonic()
            it.ask("set_traffic", route=ROUTE, weights={"alpha": 1 - share, "canary": share})
            changes_ms.append((time.monotonic() - asked) * 1000)
            if share and meanwhile is not None:
                pause(began + (turn + 0.5) * TURN_S)
                meanwhile()
        pause(began + turns * TURN_S)
    it.ask("delete_traffic", route=ROUTE)
    it.ask("delete", app="canary")
    return load, changes_ms


def _common(what: str, load: Load, changes_ms: list[float]) -> list[Figure]:
    stable, canary = Load(), Load()
    for each in load.exchanges:
        (canary if each.version == "canary" else stable).exchanges.append(each)
    share = 100 * load.versions()["canary"] / max(load.versions().total(), 1)
    return [
        latencies(f"{what}: the stable one's answers", stable),
        Figure(f"{what}: its part of what was answered", share, "%"),
        Figure(f"{what}: changes of the weights", len(changes_ms)),
        Figure(f"{what}: the slowest of them", max(changes_ms), "ms"),
    ]


def shadow(it: System, size: Size) -> list[Figure]:
    """Compare the times of requests with and without copies of them, in turns in one load."""
    figures = []
    for what, arguments in (
        ("a shadow", {}),
        ("a shadow that fails", {"fails": True}),
        ("a shadow that takes 500 ms", {"pause_s": SLOW_S}),
    ):
        canary_of(it, **arguments)
        figures += _compared(it, size, what)
        it.ask("delete", app="canary")
    return figures


def _compared(it: System, size: Size, what: str) -> list[Figure]:
    parts: dict[float, Load] = {0.0: Load(), 1.0: Load()}
    spans: list[tuple[float, float, float]] = []
    turn_s = max(size.requests / size.rate / _TURNS, TURN_S)
    with good_load(it.port, rate=size.rate, app="alpha", timeout_s=10) as load:
        for turn in range(_TURNS):
            share = float(turn % 2)
            it.ask("shadow_traffic", route=ROUTE, app="canary", proportion=share)
            since = time.monotonic()
            pause(since + turn_s)
            spans.append((share, since, time.monotonic()))
    for share, since, until in spans:
        parts[share].exchanges += load.within(since, until).exchanges
    requests, copies, dropped = _counted(it)
    it.ask("delete_traffic", route=ROUTE)
    plain, copied = (
        [parts[share].took_ms(quantile) for quantile in (0.5, 0.99)] for share in (0.0, 1.0)
    )
    middle, late = (
        f"{one:.1f} ms, {other:.1f} ms without" for one, other in zip(copied, plain, strict=True)
    )
    ratio = copied[0] / plain[0]
    return [
        lost(what, load),
        exactly(f"{what}: copies of the last turn, sent or dropped", copies + dropped, requests),
        Figure(f"{what}: dropped of these", dropped),
        Figure(f"{what}: p50", ratio, "", "≤ 1.5 × as without it", ratio <= 1.5, middle),
        Figure(f"{what}: p99", copied[1], "ms", text=late),
    ]


def _counted(it: System) -> tuple[int, int, int]:
    """Return requests, copies and dropped copies since the last change, when all are over."""

    def now() -> tuple[int, int, int]:
        route = it.ask("route", route=ROUTE)
        main, shadow = route["targets"]["alpha"]["counts"], route["shadows"]["canary"]["counts"]
        return main["requests"], shadow["requests"], shadow["dropped"]

    before = (0, 0, 0)
    until = time.monotonic() + _COUNTS_S
    while (found := now()) != before or found[0] != found[1] + found[2]:
        if time.monotonic() > until:
            break  # the figure shows what is missing
        before = found
        pause(time.monotonic() + _TOLD_S)
    return found


if __name__ == "__main__":
    main(scenario)
