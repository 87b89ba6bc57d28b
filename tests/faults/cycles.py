"""Deployments that come and go. `python -m tests.faults.cycles [--cluster ray] [--cycles N]`

Each cycle runs an application under a new name, calls it over HTTP and through a handle, and
deletes it. What the processes hold afterwards is what they held before.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.faults.figures import Figure, at_most, exactly, markdown
from tests.faults.serving import resident

from alacarte import serve
from alacarte._process.router_table import LINGER_S
from alacarte.testing import wait_until

__all__ = ["holdings", "routers_of", "run_cycles", "scenario", "stored"]

_WARMING = {"local": 200, "ray": 20}
"""Cycles before the first count: caches fill, and each thread's allocator takes its room."""


@serve.deployment
class Echo:
    def __call__(self, request: Any) -> str:
        return "hello"


def run_cycles(names: Iterator[str], count: int, url: str) -> None:
    """Run, call and delete an application of a new name, again and again."""
    for _ in range(count):
        name = next(names)
        handle = serve.run(Echo.bind(), name=name, route_prefix=f"/{name}")
        assert handle.remote(None).result(timeout_s=30) == "hello"
        with urllib.request.urlopen(f"{url}/{name}", timeout=30) as response:
            assert response.read() == b"hello"
        serve.delete(name)


def holdings() -> dict[str, int]:
    """Return what this process holds, all event loops of a local instance included."""
    gc.collect()
    found = {"tasks": 0, "routers": 0, "keys followed": 0, "keys published": 0}
    for each in gc.get_objects():
        kind = type(each).__name__
        if kind == "ProcessRuntime" and each.loop.is_running():
            found["tasks"] += len(asyncio.all_tasks(each.loop))
            found["routers"] += len(each.routers)
            found["keys followed"] += len(each._subscription.keys)
        elif kind == "SnapshotHub":
            found["keys published"] += len(each.keys) - len(each._retired)
    found["descriptors"] = len(os.listdir("/proc/self/fd"))
    return found


def routers_of(prefix: str) -> list[str]:
    """Return the applications of such names that some runtime of this process has a router of."""
    return [
        deployment.app
        for each in gc.get_objects()
        if type(each).__name__ == "ProcessRuntime"
        for deployment in each.routers
        if deployment.app.startswith(prefix)
    ]


def settled(before: dict[str, int]) -> dict[str, int]:
    """Return what this process holds once what is gone has been dropped, or should have been."""
    until = time.monotonic() + 3 * LINGER_S
    while (now := holdings()) != before and time.monotonic() < until:
        wait_for(0.2)
    return now


def wait_for(pause_s: float) -> None:
    until = time.monotonic() + pause_s
    wait_until(lambda: time.monotonic() > until, pause_s + 5, "time to pass")


def scenario(cluster: str, cycles: int) -> list[Figure]:
    """What is left of deployments that were run, called and deleted under new names."""
    names = (f"app-{number}" for number in range(10**9))
    with _instance(cluster) as (url, pids):
        run_cycles(names, _WARMING[cluster], url)
        before = settled({})
        classes, sizes, files = stored(cluster), _each(pids, resident), _each(pids, _open_files)
        began = time.monotonic()
        run_cycles(names, cycles, url)
        took = time.monotonic() - began
        after = settled(before)
        figures = [Figure("cycles", cycles), Figure("time for each", 1000 * took / cycles, "ms")]
        figures += [exactly(name, after[name], before[name]) for name in before]
        for name in pids:
            grown = resident(pids[name]) / sizes[name]
            figures.append(at_most(f"memory of {name}", 100 * grown - 100, 5.0, "% more"))
            figures.append(exactly(f"descriptors of {name}", _open_files(pids[name]), files[name]))
        if cluster == "ray":
            figures.append(exactly("classes in Ray's store", stored(cluster), classes))
    return figures


def _each(pids: dict[str, int], look: Callable[[int], Any]) -> dict[str, Any]:
    return {name: look(pid) for name, pid in pids.items()}


def _open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


@contextmanager
def _instance(cluster: str) -> Iterator[tuple[str, dict[str, int]]]:
    """Start an instance; give its URL and the processes that stay."""
    os.environ["ALACARTE_CLUSTER"] = cluster
    if cluster == "ray":
        import ray

        ray.init(num_cpus=8, include_dashboard=False, logging_level="warning")
    serve.start(http_options={"port": 0})
    try:
        [service] = serve.status().services.values()
        pids = {"this process": os.getpid()}
        if cluster == "ray":
            pids |= _actor_pids()
        yield service.url.rstrip("/"), pids
    finally:
        serve.shutdown()


def _actor_pids() -> dict[str, int]:
    """Return the process of the controller and that of the proxy."""
    import ray

    return {
        "the controller" if actor["Name"] == "alacarte:controller" else "the proxy": actor["Pid"]
        for actor in ray._private.state.actors().values()  # type: ignore[attr-defined]
        if actor["State"] == "ALIVE" and actor["Name"].startswith("alacarte:")
    }


def stored(cluster: str) -> int:
    """Return how many classes and functions Ray has stored."""
    if cluster != "ray":
        return 0
    import ray

    store = ray._private.worker.global_worker.gcs_client  # type: ignore[attr-defined]
    return sum(
        len(store.internal_kv_keys(prefix, namespace))
        for namespace in (b"fun", None)
        for prefix in (b"ActorClass", b"RemoteFunction", b"FunctionsToRun")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cluster", choices=("ray", "local"), default="local")
    parser.add_argument("--cycles", type=int, default=0, help="1000, or 50 on Ray")
    options = parser.parse_args()
    cycles = options.cycles or (50 if options.cluster == "ray" else 1000)
    figures = scenario(options.cluster, cycles)
    print(markdown(figures))
    if not all(figure.met for figure in figures):
        raise SystemExit("targets missed")


if __name__ == "__main__":
    main()
