"""R13: Ray's control store stopped, then killed. `python -m tests.faults.control_store [--full]`"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from tests.faults.figures import Figure, at_most, exactly
from tests.faults.load import Load, good_load
from tests.faults.systems import System, running
from tests.faults.trial import Size, latencies, lost, main, pause

from alacarte.testing import wait_until

__all__ = ["killed", "scenario", "stopped"]

_OPTIONS = {"num_replicas": 2, "max_ongoing_requests": 20}
_BOUNDED_S = 60
"""Nothing that needs the store may wait for it longer, before it says so."""


def scenario(system: str, size: Size) -> list[Figure]:
    """Ray's control store is stopped with SIGSTOP and goes on; it is killed and started again.

    It keeps its data in files (`RAY_gcs_storage=rocksdb`). Requests go on meanwhile; a deployment
    is refused within a bound, and accepted afterwards.
    """
    with _head() as (head, address), running(system, ray_address=address) as it:
        it.deploy("v0", options=_OPTIONS)
        return [*stopped(it, size, head), *killed(it, size, head)]


@contextlib.contextmanager
def _head() -> Iterator[tuple[Any, str]]:
    """Run a Ray whose control store survives its process; give its head node and its address."""
    with tempfile.TemporaryDirectory(prefix="alc-", dir="/tmp") as directory:
        # Ray's processes read these, and so must have them before they start.
        settings = {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": f"{directory}/store"}
        before = {name: os.environ.get(name) for name in (*settings, "RAY_TMPDIR")}
        os.environ |= {**settings, "RAY_TMPDIR": directory}
        os.makedirs(f"{directory}/ray")
        try:
            from ray.cluster_utils import Cluster

            cluster = Cluster(
                initialize_head=True, head_node_args={"num_cpus": 8, "include_dashboard": False}
            )
            try:
                yield cluster.head_node, cluster.address
            finally:
                cluster.shutdown()
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def stopped(it: System, size: Size, head: Any) -> list[Figure]:
    """Stop the store's process for a while."""
    pid = _store(head)
    what = "stopped"

    def away() -> None:
        os.kill(pid, signal.SIGSTOP)

    def back() -> None:
        os.kill(pid, signal.SIGCONT)

    return _outage(it, size, what, away, back)


def killed(it: System, size: Size, head: Any) -> list[Figure]:
    """Kill the store's process, and start another on what it has stored."""
    what = "killed"

    def away() -> None:
        head.kill_gcs_server(check_alive=False)

    def back() -> None:
        head.start_gcs_server()

    figures = _outage(it, size, what, away, back)
    pid = next(iter(it.replicas().values()))
    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len({*it.replicas().values()} - {pid}) == 2, 60, "a replacement")
    figures.append(Figure(f"{what}: a replica replaced afterwards", time.monotonic() - began, "s"))
    return figures


def _store(head: Any) -> int:
    [process] = head.all_processes["gcs_server"]
    pid: int = process.process.pid
    return pid


def _outage(it: System, size: Size, what: str, away: Any, back: Any) -> list[Figure]:
    pids = set(it.replicas().values())
    with good_load(it.port, rate=size.rate, app="alpha", timeout_s=10) as load:
        began = time.monotonic()
        away()
        asked = time.monotonic()
        it.status()
        status_s = time.monotonic() - asked
        refused_s = _refused(it, what)
        pause(began + size.seconds)
        back()
        returned = time.monotonic()
        it.deploy(f"after-{what}", options=_OPTIONS)
        deploy_s = time.monotonic() - returned
        pause(time.monotonic() + 1)
    # A second before the end of it: what answered then had been there all the time.
    survived = len(pids & _answering(load, returned - 1, returned))
    return [
        lost(what, load),
        latencies(what, load),
        Figure(f"{what}: how long", returned - began, "s"),
        at_most(f"{what}: status told meanwhile after", status_s, 5, "s"),
        at_most(f"{what}: a deployment refused meanwhile after", refused_s, _BOUNDED_S, "s"),
        exactly(f"{what}: replicas that answered all the time", survived, 2),
        at_most(f"{what}: a new version serves after its return", deploy_s, 15, "s"),
        exactly(f"{what}: replicas in the end", len(it.replicas()), 2),
    ]


def _refused(it: System, what: str) -> float:
    """Return how long it takes to be told that nothing can be deployed now."""
    asked = time.monotonic()
    try:
        it.deploy(f"during-{what}", options=_OPTIONS)
    except RuntimeError:
        return time.monotonic() - asked
    return float("inf")


def _answering(load: Load, since: float, until: float) -> set[int]:
    """Return the processes that answered in a time."""
    return {
        int(each.replica)
        for each in load.exchanges
        if not each.problem and since < each.due < until
    }


if __name__ == "__main__":
    main(scenario)
