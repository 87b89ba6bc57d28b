"""Plain routes of one replica and of two, and endpoints: with one backend, two, and a shadow."""

from __future__ import annotations

import os
import sys

import processes
from program import init_ray, report, serve, start, stop


class Hello:
    async def __call__(self, request):
        return "hello"


def main() -> None:
    init_ray()
    deployment = serve.deployment(max_ongoing_requests=100)(Hello)
    start(deployment.bind())
    serve.run(deployment.options(num_replicas=2).bind(), name="both", route_prefix="/both")
    client = serve.connect()
    for tag in ("first", "second"):
        client.create_backend(tag, Hello, config={"max_concurrent_queries": 100})
    for name in ("one", "two", "shadow"):
        client.create_endpoint(name, backend="first", route=f"/{name}")
    client.set_traffic("two", {"first": 0.5, "second": 0.5})
    client.shadow_traffic("shadow", "second", 1.0)
    processes.settle(os.getpid())
    report(ready=True)
    sys.stdin.read()
    stop()


if __name__ == "__main__":
    main()
