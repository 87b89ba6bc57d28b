"""R29: versions that cannot start. `python -m tests.faults.failing_start [--peer ray_serve]`"""

from __future__ import annotations

import time

from tests.faults.figures import Figure, at_most, exactly
from tests.faults.load import good_load
from tests.faults.systems import ALACARTE, System, running
from tests.faults.trial import Size, latencies, lost, main, pause

from alacarte.testing import wait_until

__all__ = ["OPTIONS", "raises", "scenario", "takes_for_ever"]

OPTIONS = {"num_replicas": 2, "max_ongoing_requests": 20}
_FAILED = ("DEPLOY_FAILED", "UNHEALTHY")


def scenario(system: str, size: Size) -> list[Figure]:
    """A version raises in its constructor, another hangs there; a good one follows each."""
    with running(system) as it:
        it.deploy("v0", options=OPTIONS)
        return [*raises(it, size), *takes_for_ever(it, size)]


def raises(it: System, size: Size) -> list[Figure]:
    """Deploy a version that raises in its constructor, then one that does not."""
    before = set(it.replicas().values())
    with good_load(it.port, rate=size.rate, app="alpha", timeout_s=10) as load:
        asked = time.monotonic()
        bad = it.deploy("bad", options=OPTIONS, arguments={"start": "raise"}, wait=False)
        wait_until(lambda: it.status()["status"] in _FAILED, 120, "the deployment to fail")
        failed_s = time.monotonic() - asked
        told = "this version cannot start" in it.status()["message"]
        wait_until(bad.done, 60, "serve.run to return")
        returned_s = time.monotonic() - asked
        pause(time.monotonic() + min(size.seconds, 3))
        kept = len(before & set(it.replicas().values()))
        asked = time.monotonic()
        it.deploy("good", options=OPTIONS)
        good_s = time.monotonic() - asked
        pause(time.monotonic() + 1)
    what = "constructor raises"
    return [
        lost(what, load),
        latencies(what, load, 500),
        Figure(f"{what}: DEPLOY_FAILED after", failed_s, "s"),
        exactly(f"{what}: the message says what was raised", int(told), 1),
        exactly(f"{what}: serve.run raised", int(bad.exception() is not None), 1),
        Figure(f"{what}: after", returned_s, "s"),
        exactly(f"{what}: old replicas that still serve", kept, 2),
        Figure(f"{what}: a good version runs after", good_s, "s"),
    ]


def takes_for_ever(it: System, size: Size) -> list[Figure]:
    """Deploy a version that hangs in its constructor, then a good one before that has ended."""
    options = {**OPTIONS, "start_timeout_s": 3} if it.name == ALACARTE else OPTIONS
    with good_load(it.port, rate=size.rate, app="alpha", timeout_s=10) as load:
        it.deploy("hangs", options=options, arguments={"start": "hang"}, wait=False)
        pause(time.monotonic() + max(size.seconds / 3, 5))
        asked = time.monotonic()
        it.deploy("later", options=OPTIONS)
        good_s = time.monotonic() - asked
        pause(time.monotonic() + 1)
    what = "constructor hangs"
    return [
        lost(what, load),
        latencies(what, load, 500),
        at_most(f"{what}: a good version runs after", good_s, 10, "s"),
        exactly(f"{what}: processes left", len(it.replicas()), 2),
    ]


if __name__ == "__main__":
    main(scenario)
