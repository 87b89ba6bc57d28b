"""R8, R9: more than can be done. `python -m tests.faults.overload [--peer ray_serve] [--full]`"""

from __future__ import annotations

import time

from tests.faults.figures import Figure, at_least, at_most, exactly, percentile
from tests.faults.load import Load, good_load
from tests.faults.serving import resident
from tests.faults.systems import System, running
from tests.faults.trial import Size, lost, main

__all__ = ["OPTIONS", "beyond", "scenario"]

_PAUSE_S = 0.04
_ONGOING = 2
_QUEUED = 10
CAPACITY = _ONGOING / _PAUSE_S
"""Requests a second that the one replica can answer."""
OPTIONS = {"num_replicas": 1, "max_ongoing_requests": _ONGOING, "max_queued_requests": _QUEUED}
ARGUMENTS = {"pause_s": _PAUSE_S}
_PATIENCE_S = 2.0
"""An answer that takes longer is of no use to anybody."""


def scenario(system: str, size: Size) -> list[Figure]:
    """One replica can answer 50 requests a second, 10 may wait; 3 and 10 times that are sent."""
    with running(system) as it:
        it.deploy("v0", options=OPTIONS, arguments=ARGUMENTS)
        return [
            Figure("1.1 × capacity: goodput", _peak(it, size), "/s"),
            *beyond(it, size, 3, 0.9),
            *beyond(it, size, 10, 0.75),
        ]


def _peak(it: System, size: Size) -> float:
    """Return how many a second are answered when there is just enough to do."""
    with good_load(it.port, rate=CAPACITY * 1.1, app="alpha", timeout_s=10) as load:
        time.sleep(max(size.seconds / 3, 3))
    return _goodput(load.within(load.exchanges[0].due + 1))


def _goodput(load: Load) -> float:
    good = sum(not each.problem and each.took <= _PATIENCE_S for each in load.exchanges)
    span = load.exchanges[-1].due - load.exchanges[0].due
    return good / span


def beyond(it: System, size: Size, times: float, share: float) -> list[Figure]:
    """Ask for so many times the capacity, then for 0.8 times."""
    [(_, proxy)] = it.proxies().items()
    before = resident(proxy)
    with good_load(it.port, rate=CAPACITY * times, app="alpha", timeout_s=10) as load:
        time.sleep(max(size.seconds * 2 / 3, 3))
    grown = resident(proxy) - before
    after = time.monotonic()
    with good_load(it.port, rate=CAPACITY * 0.8, app="alpha", timeout_s=10) as calm:
        time.sleep(4)
    refused = [each for each in load.exchanges if each.refused]
    other = sum(bool(each.problem) and not each.refused for each in load.exchanges)
    whole = sum(
        each.headers.get("retry-after", "").isdigit()
        and each.headers.get("connection") != "close"
        and each.size <= 200
        for each in refused
    )
    refused_ms = [each.took * 1000 for each in refused]
    what = f"{times:g} × capacity"
    bound_ms = 2 * (_QUEUED + _ONGOING) / CAPACITY * 1000 + 2 * _PAUSE_S * 1000
    return [
        at_least(f"{what}: goodput", _goodput(load), share * CAPACITY, "/s"),
        at_most(f"{what}: p99 of what is answered", load.took_ms(0.99), bound_ms, "ms"),
        Figure(f"{what}: refused with 503", len(refused)),
        exactly(f"{what}: failed otherwise", other, 0),
        at_most(f"{what}: p99 of refusals", percentile(refused_ms, 0.99), 50, "ms"),
        exactly(
            f"{what}: refusals without Retry-After, closing, or over 200 bytes",
            len(refused) - whole,
            0,
        ),
        at_most(f"{what}: growth of the proxy", grown, 64, "MiB"),
        lost(f"{what}: then 0.8 ×, after 2 s", calm.within(after + 2)),
        at_most(
            f"{what}: then 0.8 ×, after 2 s: p99", calm.took_ms(0.99, after + 2), bound_ms, "ms"
        ),
    ]


if __name__ == "__main__":
    main(scenario)
