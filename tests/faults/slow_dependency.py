"""R34: a deployment behind another that is slow. `python -m tests.faults.slow_dependency`"""

from __future__ import annotations

import time

from tests.faults.figures import Figure, at_least, at_most, exactly, percentile
from tests.faults.load import good_load
from tests.faults.systems import System, running
from tests.faults.trial import Size, lost, main, pause

__all__ = ["scenario", "slow_down"]

_OPTIONS = {"num_replicas": 1, "max_ongoing_requests": 10, "max_queued_requests": 10}


def scenario(system: str, size: Size) -> list[Figure]:
    """A deployment takes 2 s in place of 20 ms; one asks it, and another has no part in it."""
    with running(system) as it:
        it.deploy("v0", options=_OPTIONS, child=_OPTIONS)
        it.deploy("v0", app="beta", prefix="/beta", options={"max_ongoing_requests": 20})
        return slow_down(it, size)


def slow_down(it: System, size: Size) -> list[Figure]:
    """Make the child slow for a while, under load on both applications."""
    rate = min(size.rate, 100)
    with (
        good_load(it.port, rate=rate, app="alpha", timeout_s=10) as asking,
        good_load(it.port, rate=rate / 2, app="beta", target="/beta?", timeout_s=10) as apart,
    ):
        pause(time.monotonic() + 4)
        slow = time.monotonic()
        note = it.note("slow")
        pause(slow + max(size.seconds / 2, 6))
        quick = time.monotonic()
        note.unlink()
        pause(quick + 6)
    during = asking.within(slow + 3, quick)
    refused = [each.took * 1000 for each in during.exchanges if each.refused]
    others = sum(bool(each.problem) and not each.refused for each in during.exchanges)
    usual = apart.took_ms(0.99, until=slow)
    return [
        at_least("refused while it is slow", len(refused), 1),
        at_most("p99 of refusals", percentile(refused, 0.99), 50, "ms"),
        exactly("failed otherwise", others, 0),
        lost("from 3 s after it is quick again", asking.within(quick + 3)),
        lost("of the other application", apart),
        Figure("its p99 before", usual, "ms"),
        at_most("its p99 meanwhile", apart.took_ms(0.99, slow, quick), 1.5 * usual + 10, "ms"),
    ]


if __name__ == "__main__":
    main(scenario)
