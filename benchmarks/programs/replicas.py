"""Start one, eight and 32 replicas: from `serve.run` until all run and HTTP answers."""

from __future__ import annotations

import os
import time

import processes
from program import get, init_ray, report, serve, start, stop, wait_for


@serve.deployment(max_ongoing_requests=100, ray_actor_options={"num_cpus": 0})
class Hello:
    async def __call__(self, request):
        return "hello"


def main() -> None:
    init_ray()
    start(Hello.bind())  # so that controller and proxy are there
    values = {}
    for count in (1, 8, 32):
        processes.settle(os.getpid())
        application = Hello.options(num_replicas=count).bind()
        began = time.perf_counter()
        serve.run(application, name=f"of{count}", route_prefix=f"/{count}")
        if not wait_for(lambda: _answers(f"/{count}"), limit_s=30):  # noqa: B023
            raise AssertionError(f"{count} replicas did not answer")
        values[f"replicas_{count}_s"] = time.perf_counter() - began
        serve.delete(f"of{count}")
    report(**values)
    stop()


def _answers(path: str) -> bool:
    try:
        return get(path) == "hello"
    except OSError:  # not routed yet
        return False


if __name__ == "__main__":
    main()
