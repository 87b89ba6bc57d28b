"""Work that nobody waits for any more ends at every hop, and its slots are free again."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.instance import Instance

from alacarte import serve
from alacarte.errors import DeadlineExceededError
from alacarte.serve.handle import DeploymentHandle
from alacarte.testing import wait_until

CALLERS = 1000
WORK_S = 60.0
"""Far longer than any test: what ends earlier was cancelled."""
ENDED_S = 10.0
"""Half a second on a machine of its own; this one is shared."""


@serve.deployment(max_ongoing_requests=CALLERS, max_queued_requests=-1)
class Hop:
    """One of three in a row."""

    def __init__(self, following: Any = None) -> None:
        self.following = following
        self.running = 0

    async def __call__(self, request: Any = None) -> str:
        self.running += 1
        try:
            if self.following is None:
                await asyncio.sleep(WORK_S)
            else:
                await self.following.remote()
            return "done"
        finally:
            self.running -= 1

    async def count(self) -> int:
        return self.running

    async def free(self) -> bool:
        return True


HOPS = ("first", "second", "third")


@pytest.fixture(scope="module")
def hops(instance: Instance) -> Iterator[dict[str, DeploymentHandle]]:
    third = Hop.options(name="third").bind()
    second = Hop.options(name="second").bind(third)
    serve.run(Hop.options(name="first").bind(second), name="hops", route_prefix="/hops")
    yield {name: serve.get_deployment_handle(name, "hops") for name in HOPS}
    serve.delete("hops")


def running(hops: dict[str, DeploymentHandle]) -> list[int]:
    """How many handlers run, by hop. A broadcast is heard by replicas that are full, too."""
    return [sum(hops[name].broadcast("count").results(timeout_s=30)) for name in HOPS]


def all_ended(hops: dict[str, DeploymentHandle], instance: Instance) -> None:
    began = time.monotonic()
    wait_until(lambda: not any(running(hops)), ENDED_S, "no handler to run anywhere")
    print(f"none of {CALLERS} ran on after {time.monotonic() - began:.2f} s")
    for replica in instance.replicas("hops"):
        wait_until(lambda replica=replica: instance.ongoing(replica) == 0)  # type: ignore[misc]
    # Every slot can be had again, at each hop.
    for name in HOPS:
        responses = [hops[name].options(timeout_s=30).free.remote() for _ in range(CALLERS)]
        assert all(response.result() for response in responses)


def test_callers_that_vanish(instance: Instance, hops: dict[str, DeploymentHandle]):
    """1,000 calls by handle through three deployments, all of them given up."""
    responses = [hops["first"].remote() for _ in range(CALLERS)]
    wait_until(lambda: running(hops) == [CALLERS] * 3, 60, "all handlers to run")
    for response in responses:
        response.cancel()
    all_ended(hops, instance)


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
def test_clients_that_vanish(instance: Instance, hops: dict[str, DeploymentHandle], reset: bool):
    """1,000 HTTP clients that hang up, politely or not, in the middle of their requests."""
    clients = []
    for _ in range(CALLERS):
        client = socket.create_connection(("127.0.0.1", instance.port), timeout=30)
        client.sendall(b"GET /hops HTTP/1.1\r\nHost: localhost\r\n\r\n")
        clients.append(client)
    wait_until(lambda: running(hops) == [CALLERS] * 3, 60, "all handlers to run")
    for client in clients:
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    all_ended(hops, instance)


# --- deadlines --------------------------------------------------------------------------


@serve.deployment(max_ongoing_requests=10)
class Step:
    """Works for a while, then calls the next."""

    def __init__(self, directory: str, name: str, following: Any = None) -> None:
        self.file = Path(directory) / name
        self.following = following

    async def __call__(self, request: Any = None) -> list[float]:
        left = serve.get_request_context().remaining_s()
        assert left is not None
        self.file.touch()
        await asyncio.sleep(0.2)
        return [left, *(await self.following.remote() if self.following is not None else [])]


@pytest.fixture
def steps(instance: Instance, tmp_path: Path) -> Iterator[DeploymentHandle]:
    application = None
    for name in ("third", "second", "first"):
        following = [] if application is None else [application]
        application = Step.options(name=name).bind(str(tmp_path), name, *following)
    handle: DeploymentHandle = serve.run(application, name="steps", route_prefix="/steps")
    # Every hop is connected before time is measured.
    assert len(handle.options(timeout_s=60).remote().result()) == 3
    for file in tmp_path.iterdir():
        file.unlink()
    yield handle
    serve.delete("steps")


def test_the_third_hop_never_starts(instance: Instance, steps: DeploymentHandle, tmp_path: Path):
    """With 300 ms for three hops of 200 ms the caller is told at 300 ms, by handle and by HTTP."""
    began = time.monotonic()
    with pytest.raises(DeadlineExceededError, match=r"steps#first: no reply within 0\.3 s"):
        steps.options(timeout_s=0.3).remote().result()
    assert 0.29 < time.monotonic() - began < 5
    answer = instance.get("/steps", x_request_timeout_seconds="0.3")
    assert answer.status == 504
    for replica in instance.replicas("steps"):
        wait_until(lambda replica=replica: instance.ongoing(replica) == 0)  # type: ignore[misc]
    assert not (tmp_path / "third").exists()


def test_time_left_at_each_hop(steps: DeploymentHandle):
    """Each sees what is left of the caller's time, less than the hop before had."""
    first, second, third = steps.options(timeout_s=60).remote().result()
    assert 60 >= first > second + 0.19 > third + 0.38
