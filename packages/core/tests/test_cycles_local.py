"""Created and deleted deployments leave nothing behind in the calling processes."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from typing import Any

import pytest

from alacarte import serve
from alacarte._control.snapshot_hub import SnapshotHub
from alacarte._process import router_table
from alacarte._process.process_runtime import ProcessRuntime
from alacarte.errors import DeploymentUnavailableError
from alacarte.testing import wait_until

WAIT_S = 20
ALONE = "ALACARTE_TEST_ALONE"
"""Set in the process that runs a single test."""


@serve.deployment
class Callee:
    def __call__(self) -> str:
        return "hello"


@serve.deployment
class Caller:
    def __init__(self, callee: Any) -> None:
        self.callee = callee

    async def __call__(self) -> str:
        result: str = await self.callee.ask()
        return result


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is gone is dropped soon."""
    monkeypatch.setattr(router_table, "LINGER_S", 0.05)


def cycles(names: range) -> None:
    for name in names:
        handle = serve.run(Caller.bind(Callee.bind()), name=f"app-{name}", route_prefix=None)
        assert handle.call() == "hello"
        serve.delete(f"app-{name}")


def holdings() -> dict[str, int]:
    """Return the resources that this process holds for deployments."""
    gc.collect()
    objects = gc.get_objects()
    # Of processes that run: other tests, such as those of the simulation, may keep ended ones.
    found = [each for each in objects if isinstance(each, ProcessRuntime)]
    runtimes = [each for each in found if each.loop.is_running()]
    hubs = [each for each in objects if isinstance(each, SnapshotHub)]
    loops = {each.loop for each in runtimes}
    return {
        "loops": len(loops),
        "tasks": sum(len(asyncio.all_tasks(loop)) for loop in loops),
        "routers": sum(len(each.routers) for each in runtimes),
        "keys followed": sum(len(each._subscription.keys) for each in runtimes),
        "keys published": sum(len(each.keys) - len(each._retired) for each in hubs),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
    }


@pytest.mark.once
@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="descriptors are counted there")
def test_nothing_is_left_in_a_process_of_its_own():
    """Run the next test of this file in a process of its own."""
    name = f"{__file__}::{test_nothing_is_left_of_deployments_that_are_gone.__name__}"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", name],
        env={**os.environ, ALONE: "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


@pytest.mark.skipif(ALONE not in os.environ, reason="the test before runs it, in its own process")
def test_nothing_is_left_of_deployments_that_are_gone(local, brief):
    """After many of new names, tasks, routers, keys, descriptors and threads are as before.

    `python -m tests.faults.cycles` runs a thousand, and on Ray.
    """
    cycles(range(3))
    wait_until(lambda: holdings()["routers"] == 0, timeout_s=WAIT_S)
    before = holdings()
    cycles(range(3, 40))
    wait_until(lambda: holdings() == before, timeout_s=WAIT_S)


def test_a_handle_outlives_its_deployment(local, brief):
    """A handle fails while its deployment is deleted, and works when it exists again."""
    handle = serve.run(Callee.bind(), name="kept", route_prefix=None)
    assert handle.call() == "hello"
    for _ in range(3):
        serve.delete("kept")
        wait_until(lambda: not handle.runtime.routers, timeout_s=WAIT_S)
        with pytest.raises(DeploymentUnavailableError, match="no such deployment"):
            handle.call()
        wait_until(lambda: not handle.runtime.routers, timeout_s=WAIT_S)
        serve.run(Callee.bind(), name="kept", route_prefix=None)
        assert handle.call() == "hello"
