"""R6: new code under load. `python -m tests.faults.rolling_update [--peer ray_serve] [--full]`"""

from __future__ import annotations

import time
from statistics import median

from tests.faults.figures import Figure, exactly
from tests.faults.load import good_load
from tests.faults.systems import System, running
from tests.faults.trial import Size, latencies, lost, main, pause

__all__ = ["scenario", "update"]


def scenario(system: str, size: Size) -> list[Figure]:
    """New code is deployed again and again under load, with three replicas, two and one."""
    figures = []
    with running(system) as it:
        for replicas in (3, 2, 1):
            figures += update(it, size, replicas)
            it.ask("delete", app="alpha")
    return figures


def update(it: System, size: Size, replicas: int) -> list[Figure]:
    """Update an application of so many replicas, `size.rounds` times."""
    options = {"num_replicas": replicas, "max_ongoing_requests": 20}
    it.deploy("v0", options=options)
    took_s: list[float] = []
    gone_by: list[tuple[float, str]] = []
    every_s = size.requests / size.rate / (size.rounds + 1)
    with good_load(it.port, rate=size.rate, app="alpha", timeout_s=10) as load:
        began = time.monotonic()
        for turn in range(1, size.rounds + 1):
            pause(began + turn * every_s - every_s / 2)
            asked = time.monotonic()
            it.deploy(f"v{turn}", options=options)
            took_s.append(time.monotonic() - asked)
            gone_by.append((time.monotonic(), f"v{turn}"))
        # The last version is asked, too, however long its deployment took.
        pause(max(began + size.requests / size.rate, time.monotonic() + every_s / 2))
    late = sum(
        any(each.due > then and int(each.version[1:]) < int(new[1:]) for then, new in gone_by)
        for each in load.exchanges
        if not each.problem
    )
    plural = f"{replicas} replicas" if replicas > 1 else "1 replica"
    what = plural
    return [
        lost(what, load),
        exactly(f"{what}: versions seen, less the first", len(load.versions()) - 1, size.rounds),
        exactly(f"{what}: answers of an old one after the deployment returned", late, 0),
        latencies(what, load, 500),
        Figure(f"{what}: median of an update", median(took_s), "s"),
    ]


if __name__ == "__main__":
    main(scenario)
