"""R18: more replicas and fewer under load. `python -m tests.faults.scaling [--peer ray_serve]`"""

from __future__ import annotations

import time
from statistics import median

from tests.faults.figures import Figure, exactly
from tests.faults.load import good_load
from tests.faults.systems import System, running
from tests.faults.trial import Size, latencies, lost, main, pause

__all__ = ["resize", "scenario"]


def scenario(system: str, size: Size) -> list[Figure]:
    """Two replicas become eight and two again under load, by deploying with another number."""
    with running(system, nodes=(12,)) as it:
        return resize(it, size)


def resize(it: System, size: Size, most: int = 8) -> list[Figure]:
    """Change the number of replicas between two and `most`, `size.rounds` times each way."""
    options = {"max_ongoing_requests": 20}
    it.deploy("v0", options={**options, "num_replicas": 2})
    up_s: list[float] = []
    down_s: list[float] = []
    kept = set(it.replicas().values())
    steps = 2 * size.rounds
    every_s = size.requests / size.rate / (steps + 1)
    with good_load(it.port, rate=size.rate, app="alpha", timeout_s=10, count=size.requests) as load:
        began = time.monotonic()
        for step in range(steps):
            pause(began + (step + 0.5) * every_s)
            asked = time.monotonic()
            it.deploy("v0", options={**options, "num_replicas": 2 if step % 2 else most})
            (down_s if step % 2 else up_s).append(time.monotonic() - asked)
    what = f"2 → {most} → 2"
    return [
        lost(what, load),
        latencies(what, load, 500),
        exactly(f"{what}: replicas at the end", len(it.replicas()), 2),
        Figure(f"{what}: of the first two, still there", len(kept & set(it.replicas().values()))),
        Figure(f"{what}: median until {most} serve", median(up_s), "s"),
        Figure(f"{what}: median until 2 are left", median(down_s), "s"),
    ]


if __name__ == "__main__":
    main(scenario)
