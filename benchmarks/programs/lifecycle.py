"""Start to ready and shutdown, on a Ray that is up and quiet.

Ready is when HTTP has given its first answer; down is when `serve.shutdown` has returned and
the port is closed.
"""

from __future__ import annotations

import time

import ray
from program import get, init_ray, port_is_open, report, serve, start, wait_for


@serve.deployment(max_ongoing_requests=100)
class Hello:
    async def __call__(self, request):
        return "hello"


def main() -> None:
    init_ray()

    began = time.perf_counter()
    start(Hello.bind())
    returned = time.perf_counter()
    answered = wait_for(lambda: _answers(), limit_s=60)
    ready = time.perf_counter()
    if not answered:
        raise AssertionError("HTTP did not answer within 60 s of serve.run")

    time.sleep(2)
    shutdown_began = time.perf_counter()
    serve.shutdown()
    shutdown_returned = time.perf_counter()
    closed = wait_for(lambda: not port_is_open(), limit_s=30)
    down = time.perf_counter()
    if not closed:
        raise AssertionError("the port was still open 30 s after serve.shutdown")

    report(
        ready_s=ready - began,
        run_returned_s=returned - began,
        shutdown_s=down - shutdown_began,
        shutdown_returned_s=shutdown_returned - shutdown_began,
    )
    ray.shutdown()


def _answers() -> bool:
    try:
        return get() == "hello"
    except OSError:  # not listening yet, or not routed yet (HTTPError is one)
        return False


if __name__ == "__main__":
    main()
