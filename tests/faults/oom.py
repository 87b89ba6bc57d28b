"""R32: a replica that takes too much memory. `python -m tests.faults.oom [--peer ray_serve]`

Needs control groups (version 1) that may be written.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from tests.faults.figures import Figure, exactly
from tests.faults.load import good_load
from tests.faults.systems import System, running
from tests.faults.trial import Size, latencies, lost, main, pause

from alacarte.testing import wait_until

__all__ = ["possible", "run_out", "scenario"]

_GROUPS = Path("/sys/fs/cgroup/memory")


def possible() -> bool:
    """Tell whether the kernel lets us limit memory here."""
    return os.access(_GROUPS / "tasks", os.W_OK)


def scenario(system: str, size: Size) -> list[Figure]:
    """One of two replicas may have 400 MiB; a request makes it take 1 GiB."""
    with running(system) as it:
        it.deploy("v0", options={"num_replicas": 2, "max_ongoing_requests": 20})
        return run_out(it, size)


@contextlib.contextmanager
def _limited(pid: int) -> Iterator[None]:
    """Give a process 400 MiB."""
    group = _GROUPS / f"alacarte-faults-{pid}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(400 * 2**20))
        (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        # Who lives there still goes up one level, else the group cannot be removed.
        for other in (group / "cgroup.procs").read_text().split():
            (_GROUPS / "cgroup.procs").write_text(other)
        group.rmdir()


def run_out(it: System, size: Size) -> list[Figure]:
    """Limit the memory of each replica, and have one ask for more."""
    before = it.processes()
    victims = set(it.replicas().values())
    with contextlib.ExitStack() as groups:
        for pid in victims:
            groups.enter_context(_limited(pid))
        with good_load(it.port, rate=size.rate, app="alpha", timeout_s=10) as load:
            pause(time.monotonic() + 1)
            asked = time.monotonic()
            it.asked_path("/grow?1024")
            wait_until(lambda: victims - set(it.replicas().values()), 60, "the death of one")
            died = time.monotonic()
            wait_until(lambda: len(it.replicas()) == 2, 60, "two replicas")
            again_s = time.monotonic() - died
            pause(time.monotonic() + 2)
        dead = {name for name, pid in before.items() if pid not in it.processes().values()}
    under_way = sum(each.due <= died and each.ended >= asked for each in load.exchanges)
    return [
        exactly("processes that the kernel ended", len(dead), 1),
        exactly("of them replicas", sum("replica" in name.lower() for name in dead), 1),
        lost("", load, under_way, " (in flight)"),
        latencies("", load),
        Figure("two replicas again after", again_s, "s"),
    ]


if __name__ == "__main__":
    main(scenario)
