"""Measure the memory of a replica beyond that of a bare Ray actor."""

from __future__ import annotations

import os

import processes
import ray
from program import get, init_ray, report, serve, start, stop

CALLS = 200


@ray.remote
class Bare:
    def pid(self):
        import os

        return os.getpid()


@serve.deployment(max_ongoing_requests=100)
class Hello:
    async def __call__(self, request):
        import os

        return str(os.getpid())


def main() -> None:
    init_ray()
    actor = Bare.remote()
    start(Hello.bind())
    for _ in range(CALLS):  # both have worked before they are weighed
        bare_pid = ray.get(actor.pid.remote())
        replica_pid = int(get())
    processes.settle(os.getpid())
    bare, replica = processes.memory_mb(bare_pid), processes.memory_mb(replica_pid)
    report(
        replica_extra_rss_mb=replica["rss"] - bare["rss"],
        replica_extra_uss_mb=replica["uss"] - bare["uss"],
        replica_rss_mb=replica["rss"],
        replica_uss_mb=replica["uss"],
        bare_actor_rss_mb=bare["rss"],
        bare_actor_uss_mb=bare["uss"],
    )
    stop()


if __name__ == "__main__":
    main()
