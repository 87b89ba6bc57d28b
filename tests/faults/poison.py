"""R33: requests that kill whoever takes them. `python -m tests.faults.poison [--peer ray_serve]`"""

from __future__ import annotations

import time

from tests.faults.figures import Figure, at_most, exactly
from tests.faults.load import good_load
from tests.faults.systems import System, running
from tests.faults.trial import Size, lost, main, pause

from alacarte.testing import wait_until

__all__ = ["OPTIONS", "scenario", "send"]

OPTIONS = {"num_replicas": 3, "max_ongoing_requests": 20}


def scenario(system: str, size: Size) -> list[Figure]:
    """Every two seconds a request makes its replica, one of three, end with SIGSEGV."""
    with running(system) as it:
        it.deploy("v0", options=OPTIONS)
        return send(it, size)


def send(it: System, size: Size) -> list[Figure]:
    """Send `size.rounds` poisonous requests beside good ones."""
    seen = set(it.replicas().values())
    first = len(seen)
    with good_load(it.port, rate=size.rate, app="alpha", timeout_s=10) as load:
        deaths = []
        for _ in range(size.rounds):
            deaths.append(time.monotonic())
            it.asked_path("/poison?0")
            pause(deaths[-1] + 2)
            seen |= set(it.replicas().values())
        wait_until(lambda: it.status()["status"] == "RUNNING", 60, "the application to run")
        wait_until(lambda: len(it.replicas()) == 3, 60, "three replicas")
        seen |= set(it.replicas().values())
    under_way = sum(
        any(each.due <= at + 0.5 and each.ended >= at for at in deaths) for each in load.exchanges
    )
    killed = len(seen) - first
    return [
        Figure("poisonous requests", size.rounds),
        at_most("replicas killed", killed, 2 * size.rounds),
        lost("good requests", load, under_way, " (in flight)"),
        exactly("the application runs", int(it.status()["status"] == "RUNNING"), 1),
    ]


if __name__ == "__main__":
    main(scenario)
