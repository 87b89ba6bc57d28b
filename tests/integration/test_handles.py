"""Handles, from wherever they may be called."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.integration.applications import Caller, Tools, UserError
from tests.integration.instance import Instance

from alacarte import serve
from alacarte.errors import (
    ConfigError,
    DeadlineExceededError,
    NotFoundError,
    RequestCancelledError,
)
from alacarte.serve.handle import DeploymentHandle
from alacarte.testing import wait_until


@pytest.fixture(scope="module")
def directory(cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp(f"tools-{cluster}")


@pytest.fixture(scope="module")
def caller(instance: Instance, directory: Path) -> DeploymentHandle:
    """A deployment that calls `Tools`, which runs beside it."""
    handle: DeploymentHandle = serve.run(
        Caller.bind(Tools.bind(str(directory))), name="handles", route_prefix=None
    )
    return handle


@pytest.fixture(scope="module")
def tools(caller: DeploymentHandle) -> DeploymentHandle:
    found: DeploymentHandle = serve.get_deployment_handle("Tools", "handles")
    return found


def idle(instance: Instance) -> bool:
    return all(instance.ongoing(each) == 0 for each in instance.replicas("handles"))


@pytest.mark.minimums
def test_from_sync_code(tools: DeploymentHandle):
    """`result()` waits, may be asked again, and methods of both kinds are called alike."""
    response = tools.add.remote(1, two=2)
    assert response.result() == response.result(timeout_s=5) == 3
    assert tools.add_async.remote("a", "b").result() == "ab"
    assert tools.options(method_name="add").remote(1).result() == 1


@pytest.mark.minimums
def test_from_async_code(tools: DeploymentHandle):
    """In a driver's own event loop responses are awaited, many at a time."""

    async def main() -> list[int]:
        responses = [tools.add_async.remote(number, 1) for number in range(50)]
        found: list[int] = list(await asyncio.gather(*responses))
        with pytest.raises(RuntimeError, match="await the response instead"):
            responses[0].__class__.result(tools.add.remote(1))
        return found

    assert asyncio.run(main()) == list(range(1, 51))


def test_from_threads(tools: DeploymentHandle):
    """One handle serves any number of threads."""
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda n=n: found.append(tools.add.remote(n, n).result()))  # type: ignore[misc]
        for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(found) == [2 * number for number in range(20)]


def test_from_inside_replicas(caller: DeploymentHandle):
    """Async and sync methods call another deployment, which gives values and streams."""
    assert caller.add.remote(1, 2).result() == 3
    assert caller.add_sync.remote(1, 2).result() == 3
    assert caller.stream.remote(1000).result() == list(range(1000))
    assert caller.stream_sync.remote(1000).result() == list(range(1000))


def test_a_response_as_argument(caller: DeploymentHandle, tools: DeploymentHandle):
    """A response handed on arrives as its value, at the driver and inside replicas."""
    first = tools.add.remote(1, 2)
    assert tools.add_async.remote(first, two=first).result() == 6
    assert caller.chain.remote(3).result() == 9
    with pytest.raises(UserError, match="first"):
        tools.add.remote(tools.fail.remote("first")).result()


def test_streams(tools: DeploymentHandle):
    """Items come one by one, from generators of both kinds, to callers of both kinds."""
    streaming = tools.options(stream=True)
    assert list(streaming.count.remote(3)) == list(streaming.count_async.remote(3)) == [0, 1, 2]
    assert list(streaming.count.remote(0)) == []

    async def main() -> list[int]:
        return [number async for number in streaming.count_async.remote(5000)]

    assert asyncio.run(main()) == list(range(5000))


def test_a_stream_that_fails(tools: DeploymentHandle):
    """What was produced before the error arrives, then the error."""
    found = []
    with pytest.raises(UserError, match="after the last"):  # noqa: PT012  what came before counts
        for number in tools.options(stream=True).count_and_fail.remote(3):
            found.append(number)
    assert found == [0, 1, 2]


def test_a_stream_that_is_left(tools: DeploymentHandle, instance: Instance, directory: Path):
    """Whoever stops reading ends the generator in the replica."""
    stream = tools.options(stream=True).drip.remote("left")
    assert [next(stream) for _ in range(3)] == [0, 1, 2]
    del stream
    wait_until((directory / "left.closed").exists)
    wait_until(lambda: idle(instance))


def test_cancelling(tools: DeploymentHandle, instance: Instance, directory: Path):
    """`cancel` ends the work in the replica, and waiting raises."""
    response = tools.wait.remote("cancelled")
    wait_until((directory / "cancelled.started").exists)
    response.cancel()
    with pytest.raises(RequestCancelledError):
        response.result(timeout_s=10)
    wait_until((directory / "cancelled.cancelled").exists)
    wait_until(lambda: idle(instance))


def test_cancelling_reaches_nested_calls(
    caller: DeploymentHandle, instance: Instance, directory: Path
):
    """The work a request caused in another deployment ends with it."""
    response = caller.wait.remote("nested")
    wait_until((directory / "nested.started").exists)
    response.cancel()
    wait_until((directory / "nested.cancelled").exists)
    wait_until(lambda: idle(instance))


def test_broadcasts(tools: DeploymentHandle, instance: Instance):
    """Each replica that runs gives a result, or its own exception."""
    assert tools.broadcast("add", 1, two=2).results(timeout_s=10) == [3]
    with pytest.raises(UserError, match="oh"):
        tools.broadcast("fail", "oh").results(timeout_s=10)
    wait_until(lambda: idle(instance))


def test_a_timeout(
    caller: DeploymentHandle, tools: DeploymentHandle, instance: Instance, directory: Path
):
    """When the time is over the caller is told, and the work ends, at every hop."""
    with pytest.raises(DeadlineExceededError, match=r"handles#Tools: no reply within 0\.2 s"):
        tools.options(timeout_s=0.2).wait.remote("late").result()
    wait_until((directory / "late.cancelled").exists)
    with pytest.raises(TimeoutError):
        caller.options(timeout_s=0.3).wait.remote("later").result()
    wait_until((directory / "later.cancelled").exists)
    wait_until(lambda: idle(instance))


def test_waiting_no_longer(tools: DeploymentHandle, directory: Path):
    """`result(timeout_s=)` gives up waiting, not the request."""
    response = tools.wait.remote("patience")
    with pytest.raises(TimeoutError):
        response.result(timeout_s=0.1)
    (directory / "patience").touch()
    assert response.result(timeout_s=10) == "patience"


@pytest.mark.minimums
def test_user_exceptions(caller: DeploymentHandle, tools: DeploymentHandle):
    """The caller gets the user's own exception, its attributes, and the remote traceback."""
    with pytest.raises(UserError) as caught:
        tools.fail.remote("oh").result()
    assert (caught.value.message, caught.value.code) == ("oh", 42)
    # The cause shows where it was raised, the user's own frame first.
    told = str(caught.value.__cause__).strip('"\n').splitlines()
    assert told[0] == "Traceback (most recent call last):"
    assert "applications.py" in told[1]
    assert told[1].endswith("in fail")
    assert caller.catch.remote().result() == "inner 42"


def test_what_cannot_be_pickled(tools: DeploymentHandle):
    """The error names the argument, or says that it was the result."""
    with pytest.raises(ConfigError, match=r"add\(\): argument 2 cannot be sent.*lock"):
        tools.add.remote(1, threading.Lock())
    with pytest.raises(ConfigError, match=r"add\(\): argument 'two' cannot be sent.*lock"):
        tools.add.remote(1, two=threading.Lock())
    with pytest.raises(
        ConfigError, match=r"Tools\.lock returned a value that cannot be sent.*lock"
    ):
        tools.lock.remote().result()


def test_what_does_not_exist(tools: DeploymentHandle):
    """Unknown methods, deployments and applications are named, with those there are."""
    with pytest.raises(NotFoundError, match=r"no method 'nothing'.*add"):
        tools.nothing.remote().result()
    with pytest.raises(
        NotFoundError, match=r"no deployment 'Nobody'; its deployments are: Caller, Tools"
    ):
        serve.get_deployment_handle("Nobody", "handles")
    with pytest.raises(NotFoundError, match="application 'nowhere' does not exist"):
        serve.get_app_handle("nowhere")


def test_large_arrays(tools: DeploymentHandle):
    """NumPy arrays of some megabytes go there and back unharmed."""
    import numpy as np

    array = np.arange(2_000_000, dtype=np.float64)
    found = tools.add.remote(array, 1).result()
    assert (found == array + 1).all()


def test_pickled(tools: DeploymentHandle):
    """A handle is a value: it pickles to a name, with its options, and equals itself."""
    handle = tools.options(stream=True).count
    copy = pickle.loads(pickle.dumps(handle))
    assert copy == handle
    assert list(copy.remote(2)) == [0, 1]


@pytest.mark.ray
def test_in_a_process_of_its_own(instance: Instance, tools: DeploymentHandle):
    """On Ray a handle works in any process that can join the cluster, such as a spawned one."""
    if not instance.on_ray:
        pytest.skip("the local cluster lives in one process")
    program = (
        "import pickle, sys\n"
        "handle = pickle.loads(bytes.fromhex(sys.argv[1]))\n"
        "print('found', handle.add.remote(1, 2).result(timeout_s=20))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, pickle.dumps(tools).hex()],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "found 3" in done.stdout, done.stderr


@pytest.mark.ray
@pytest.mark.minimums
def test_in_ray_tasks_and_actors(instance: Instance, tools: DeploymentHandle):
    """On Ray a handle may be sent to a task or an actor, and is called from there."""
    if not instance.on_ray:
        pytest.skip("the local cluster has neither")
    import ray

    @ray.remote(num_cpus=0)
    def task(handle: DeploymentHandle) -> int:
        return int(handle.add.remote(1, 2).result(timeout_s=20))

    @ray.remote(num_cpus=0)
    class Actor:
        def __init__(self, handle: DeploymentHandle) -> None:
            self.handle = handle

        async def call(self) -> int:
            return int(await self.handle.add_async.remote(3, 4))

    assert ray.get(task.remote(tools), timeout=30) == 3
    actor = Actor.remote(tools)  # type: ignore[attr-defined]
    assert ray.get(actor.call.remote(), timeout=30) == 7
    ray.kill(actor)
