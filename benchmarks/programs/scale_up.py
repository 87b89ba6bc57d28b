"""From a burst of load to the first answer of a second replica, with autoscaling.

Both have the same settings, and no delay before more replicas are started.
"""

from __future__ import annotations

import os
import threading
import time

import processes
from program import get, init_ray, report, serve, start, stop

CLIENTS = 20
LIMIT_S = 90
SCALING = {
    "min_replicas": 1,
    "max_replicas": 4,
    "target_ongoing_requests": 2,
    "upscale_delay_s": 0,
}


@serve.deployment(
    max_ongoing_requests=100,
    autoscaling_config=SCALING,
    ray_actor_options={"num_cpus": 0},
)
class Which:
    async def __call__(self, request):
        import asyncio
        import os

        await asyncio.sleep(0.1)
        return str(os.getpid())


def main() -> None:
    init_ray()
    start(Which.bind())
    first = get()
    processes.settle(os.getpid())
    found = threading.Event()
    failures = []

    def ask() -> None:
        while not found.is_set():
            try:
                if get() != first:
                    found.set()
            except OSError as error:
                failures.append(error)
                found.set()

    clients = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    began = time.perf_counter()
    for client in clients:
        client.start()
    if not found.wait(LIMIT_S):
        found.set()
        raise AssertionError(f"no second replica within {LIMIT_S} s")
    took_s = time.perf_counter() - began
    for client in clients:
        client.join()
    if failures:
        raise failures[0]
    report(scale_up_s=took_s)
    stop()


if __name__ == "__main__":
    main()
