"""Processor time of the controller when nothing happens, with 40 deployments of one replica."""

from __future__ import annotations

import os
import time

import processes
from program import SECONDS, get, init_ray, report, serve, start, stop

DEPLOYMENTS = 40


@serve.deployment(max_ongoing_requests=100, ray_actor_options={"num_cpus": 0})
class Part:
    async def __call__(self, request):
        return "part"


@serve.deployment(max_ongoing_requests=100, ray_actor_options={"num_cpus": 0})
class Whole:
    def __init__(self, *parts):
        self.parts = parts

    async def __call__(self, request):
        return str(len(self.parts) + 1)


def controller() -> int:
    """Return the controller's process."""
    from ray._private import state

    [pid] = [
        each["Pid"]
        for each in state.actors().values()
        if each["State"] == "ALIVE" and each["Name"] in ("alacarte:controller", RAY_SERVES)
    ]
    return int(pid)


RAY_SERVES = "SERVE_CONTROLLER_ACTOR"


def main() -> None:
    init_ray()
    parts = [Part.options(name=f"Part{number}").bind() for number in range(1, DEPLOYMENTS)]
    start(Whole.bind(*parts))
    if get() != str(DEPLOYMENTS):
        raise AssertionError("not all parts are there")
    processes.settle(os.getpid())
    pid = controller()
    before = processes.cpu_seconds({pid})[pid]
    began = time.perf_counter()
    time.sleep(max(SECONDS, 5))
    used = processes.cpu_seconds({pid})[pid] - before
    report(idle_controller_percent=100 * used / (time.perf_counter() - began))
    stop()


if __name__ == "__main__":
    main()
