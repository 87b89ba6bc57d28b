"""R10, R11: the controller killed. `python -m tests.faults.controller_kill [--peer ray_serve]`"""

from __future__ import annotations

import os
import signal
import time

from tests.faults.figures import Figure, at_most, exactly
from tests.faults.load import good_load
from tests.faults.systems import System, running
from tests.faults.trial import Size, latencies, lost, main, pause

from alacarte.testing import wait_until

__all__ = ["OPTIONS", "kill_again_and_again", "no_controller", "scenario"]

OPTIONS = {"num_replicas": 2, "max_ongoing_requests": 20}


def scenario(system: str, size: Size) -> list[Figure]:
    """The controller is killed with `kill -9` and comes back; then it is gone for 30 s.

    A new version is deployed right after each.
    """
    with running(system) as it:
        it.deploy("v0", options=OPTIONS)
        return [*kill_again_and_again(it, size), *no_controller(it, size)]


def kill_again_and_again(it: System, size: Size) -> list[Figure]:
    """Kill the controller, deploy, and look when that is accepted and serves."""
    took_s: list[float] = []
    survived = 0
    pids = set(it.replicas().values())
    every_s = size.requests / size.rate / (size.rounds + 1)
    with good_load(it.port, rate=size.rate, app="alpha", timeout_s=10, count=size.requests) as load:
        began = time.monotonic()
        for turn in range(size.rounds):
            pause(began + (turn + 0.2) * every_s)
            _, pid = it.controller()
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: _controllers(it) not in ([], [pid]), 30, "a controller")  # noqa: B023
            if not turn:
                it.status()
                survived = len(pids & set(it.replicas().values()))
            asked = time.monotonic()
            it.deploy(f"k{turn}", options=OPTIONS)
            took_s.append(time.monotonic() - asked)
    return [
        lost("killed again and again", load),
        latencies("killed again and again", load),
        exactly("killed: replicas adopted by the next", survived, 2),
        Figure("killed: slowest deployment right after", max(took_s), "s"),
        exactly("killed: replicas in the end", len(it.replicas()), 2),
    ]


def _controllers(it: System) -> list[int]:
    return [pid for name, pid in it.processes().items() if "controller" in name.lower()]


def no_controller(it: System, size: Size) -> list[Figure]:
    """End the controller for good; after a while start another, and deploy through it."""
    name, _ = it.controller()
    with good_load(it.port, rate=size.rate, app="alpha", timeout_s=10) as load:
        gone = time.monotonic()
        it.ask("kill_actor", name=name)
        pause(gone + size.seconds)
        back = time.monotonic()
        it.ask("restart")
        restart_s = time.monotonic() - back
        asked = time.monotonic()
        it.deploy("late", options=OPTIONS)
        deploy_s = time.monotonic() - asked
        pause(time.monotonic() + 2)
    new = [each.ended for each in load.exchanges if each.version == "late"]
    what = "no controller for a while"
    return [
        lost(what, load),
        latencies(what, load),
        Figure(f"{what}: how long", size.seconds, "s"),
        Figure(f"{what}: until another runs", restart_s, "s"),
        at_most(
            f"{what}: its first deployment answers after",
            min(new, default=float("inf")) - asked,
            5,
            "s",
        ),
        Figure(f"{what}: that deployment", deploy_s, "s"),
        exactly(f"{what}: replicas in the end", len(it.replicas()), 2),
    ]


if __name__ == "__main__":
    main(scenario)
