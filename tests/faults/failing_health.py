"""R30, R31: health checks that fail. `python -m tests.faults.failing_health [--peer ray_serve]`"""

from __future__ import annotations

import time

from tests.faults.figures import Figure, at_most, exactly
from tests.faults.load import good_load
from tests.faults.systems import System, running
from tests.faults.trial import Size, latencies, lost, main, pause

from alacarte.testing import wait_until

__all__ = ["OPTIONS", "all_of_them", "flaps", "one_of_them", "scenario"]

_PERIOD_S = 1
OPTIONS = {
    "num_replicas": 3,
    "max_ongoing_requests": 20,
    "health_check_period_s": _PERIOD_S,
    "health_check_timeout_s": 2,
    "graceful_shutdown_timeout_s": 5,
}


def scenario(system: str, size: Size) -> list[Figure]:
    """`check_health` raises each second, on one of three replicas, now and then, and on all."""
    with running(system) as it:
        it.deploy("v0", options=OPTIONS)
        return [*one_of_them(it, size), *flaps(it, size), *all_of_them(it, size)]


def one_of_them(it: System, size: Size) -> list[Figure]:
    """Make one replica ill for good."""
    before = set(it.replicas().values())
    victim = min(before)
    with good_load(it.port, rate=size.rate, app="alpha", timeout_s=10) as load:
        ill = time.monotonic()
        note = it.note(f"ill-{victim}")
        wait_until(lambda: victim not in it.replicas().values(), 60, "the end of the ill one")
        wait_until(lambda: len(it.replicas()) == 3, 30, "another replica")
        whole_s = time.monotonic() - ill
        pause(time.monotonic() + 2)
        note.unlink()
    answers = [each.due for each in load.exchanges if each.replica == str(victim)]
    what = "one of three is ill"
    return [
        lost(what, load),
        latencies(what, load, 500),
        at_most(f"{what}: its last request was sent after", max(answers) - ill, 10, "s"),
        Figure(f"{what}: three again after", whole_s, "s"),
    ]


def flaps(it: System, size: Size) -> list[Figure]:
    """Make one replica ill and well by turns, once a second."""
    before = set(it.replicas().values())
    victim = min(before)
    with good_load(it.port, rate=size.rate, app="alpha", timeout_s=10) as load:
        for _ in range(5):
            note = it.note(f"ill-{victim}")
            pause(time.monotonic() + 1)
            note.unlink()
            pause(time.monotonic() + 1)
    what = "ill every other second, for 10 s"
    started = set(it.replicas().values()) - before
    return [lost(what, load), at_most(f"{what}: replicas replaced", len(started), 1)]


def all_of_them(it: System, size: Size) -> list[Figure]:
    """Make all ill, also those that are started meanwhile; then none."""
    with good_load(it.port, rate=size.rate, app="alpha", timeout_s=10) as load:
        pause(time.monotonic() + 1)
        ill = time.monotonic()
        note = it.note("ill")
        pause(ill + max(size.seconds / 2, 8))
        note.unlink()
        well = time.monotonic()
        wait_until(lambda: it.status()["status"] == "RUNNING", 120, "the application to run")
        runs_s = time.monotonic() - well
        pause(time.monotonic() + 3)
    during = load.within(ill, well)
    # Refusals at once are allowed: what must not be is that requests hang.
    hung = sum(bool(each.problem) and each.took > 1 for each in during.exchanges)
    what = "all are ill"
    return [
        Figure(
            f"{what}: failed",
            during.failed,
            text=lost("", during).text,
        ),
        exactly(f"{what}: failed after more than 1 s", hung, 0),
        latencies(what, during),
        lost(f"{what}: from 2 s after all are well", load.within(well + 2)),
        at_most(f"{what}: the status is RUNNING after", runs_s, 10, "s"),
        exactly(f"{what}: replicas in the end", _whole(it), 3),
    ]


def _whole(it: System) -> int:
    wait_until(lambda: len(it.replicas()) == 3, 30, "three replicas")
    return len(it.replicas())


if __name__ == "__main__":
    main(scenario)
