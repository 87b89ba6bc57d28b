"""R4, R5: replicas that hang. `python -m tests.faults.frozen_replica [--peer ray_serve]`"""

from __future__ import annotations

import os
import signal
import time

from tests.faults.figures import Figure, at_most, exactly
from tests.faults.load import Load, good_load
from tests.faults.systems import System, running
from tests.faults.trial import Size, latencies, lost, main, pause

from alacarte.testing import wait_until

__all__ = ["OPTIONS", "block", "freeze", "scenario"]

_LIMIT = 20
OPTIONS = {
    "num_replicas": 3,
    "max_ongoing_requests": _LIMIT,
    "health_check_period_s": 2,
    "health_check_timeout_s": 4,
    "graceful_shutdown_timeout_s": 4,
}
_TIMEOUT_S = 10


def scenario(system: str, size: Size) -> list[Figure]:
    """One of three replicas is stopped with SIGSTOP; later the event loop of one is blocked."""
    with running(system) as it:
        it.deploy("v0", options=OPTIONS)
        return [*freeze(it, size), *block(it, size)]


def freeze(it: System, size: Size) -> list[Figure]:
    """Stop a replica, wait until it is replaced, and let it go on."""
    before = set(it.replicas().values())
    victim = min(before)
    with good_load(it.port, rate=size.rate, app="alpha", timeout_s=_TIMEOUT_S) as load:
        pause(time.monotonic() + 2)
        frozen = time.monotonic()
        os.kill(victim, signal.SIGSTOP)
        wait_until(lambda: set(it.replicas().values()) - before, 90, "another replica")
        wait_until(lambda: victim not in it.replicas().values(), 90, "the end of the frozen one")
        gone_s = time.monotonic() - frozen
        pause(time.monotonic() + 1)
        released = time.monotonic()
        if _alive(victim):
            os.kill(victim, signal.SIGCONT)
        pause(released + 2)
    what = "SIGSTOP"
    hit = _affected(load, frozen)
    return [
        at_most(f"{what}: requests affected (over 1 s, or failed)", len(hit), _LIMIT),
        lost(what, load, _LIMIT, " (in flight there)"),
        at_most(
            f"{what}: the last of them was sent after",
            max((due - frozen for due in hit), default=0.0),
            2,
            "s",
        ),
        Figure(f"{what}: p99 of all before", load.took_ms(0.99, until=frozen), "ms"),
        Figure(f"{what}: p99 of those after 2 s", load.took_ms(0.99, frozen + 2), "ms"),
        Figure(f"{what}: its process is gone after", gone_s, "s"),
        at_most(
            f"{what}: the replacement answers after",
            _first_answer(load, before) - frozen,
            10,
            "s",
        ),
        exactly(f"{what}: answers of it after SIGCONT", _answers_of(load, victim, released), 0),
        latencies(what, load),
    ]


def block(it: System, size: Size) -> list[Figure]:
    """Block the event loop of one replica for 30 s."""
    with good_load(it.port, rate=size.rate, app="alpha", timeout_s=_TIMEOUT_S) as load:
        pause(time.monotonic() + 2)
        blocked = time.monotonic()
        it.asked_path("/block?30")
        pause(blocked + 12)
    what = "blocked loop"
    hit = _affected(load, blocked)
    usual = load.took_ms(0.99, until=blocked)
    return [
        at_most(f"{what}: requests affected (over 1 s, or failed)", len(hit), _LIMIT),
        lost(what, load, _LIMIT, " (in flight there)"),
        at_most(
            f"{what}: the last of them was sent after",
            max((due - blocked for due in hit), default=0.0),
            4,
            "s",
        ),
        Figure(f"{what}: p99 before", usual, "ms"),
        at_most(
            f"{what}: p99 after 4 s", load.took_ms(0.99, blocked + 4), max(2 * usual, 50), "ms"
        ),
    ]


def _affected(load: Load, since: float) -> list[float]:
    """When those were due that failed or took long."""
    return [each.due for each in load.within(since - 1).exchanges if each.problem or each.took > 1]


def _first_answer(load: Load, before: set[int]) -> float:
    others = {str(pid) for pid in before}
    return min(
        (each.ended for each in load.exchanges if not each.problem and each.replica not in others),
        default=float("inf"),
    )


def _answers_of(load: Load, pid: int, since: float) -> int:
    return sum(each.replica == str(pid) and each.ended > since for each in load.exchanges)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main(scenario)
