"""A rolling update of eight replicas: `serve.run` with other arguments, until only they answer."""

from __future__ import annotations

import os
import time

import processes
from program import APPLICATION, get, init_ray, report, serve, start, stop


@serve.deployment(num_replicas=8, max_ongoing_requests=100, ray_actor_options={"num_cpus": 0})
class Version:
    def __init__(self, name):
        self.name = name

    async def __call__(self, request):
        return self.name


def main() -> None:
    init_ray()
    start(Version.bind("old"))
    processes.settle(os.getpid())
    began = time.perf_counter()
    serve.run(Version.bind("new"), name=APPLICATION, route_prefix="/")
    took_s = time.perf_counter() - began
    answers = {get() for _ in range(64)}
    if answers != {"new"}:
        raise AssertionError(f"after the update: {answers}")
    report(update_8_s=took_s)
    stop()


if __name__ == "__main__":
    main()
