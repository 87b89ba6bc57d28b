"""Handles: calls from all kinds of code, options, and pickling."""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
import inspect
import pickle
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest

from alacarte import serve
from alacarte.context import current_call
from alacarte.errors import ConfigError, NotFoundError, ServeError
from alacarte.types import DeploymentId, Handle, HandleResponse
from alacarte_handles import (
    DeploymentHandle,
    DeploymentResponse,
    DeploymentResponseGenerator,
)

from . import gates
from .gates import WAIT_S


@serve.deployment(max_ongoing_requests=16)
class Echo:
    """Returns its argument."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    async def greet(self, name: str) -> str:
        return f"hello {name}"

    def double(self, value: Any) -> Any:
        return value + value

    def wait(self) -> str:
        gates.GATE.pass_sync()
        return "waited"

    def options(self) -> str:
        return "a method of the user's"

    def _hidden(self) -> str:
        return "hidden"

    def seen(self) -> tuple[str, str]:
        call = current_call.get()
        return call.model_id, call.routing_key

    def closure(self) -> Any:
        return threading.Lock()

    attribute = "no method"


@serve.deployment
def shout(text: str) -> str:
    return text.upper()


@serve.deployment(max_ongoing_requests=16)
class Caller:
    """Calls its argument, a handle, from each kind of code that a replica runs."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def from_async(self, name: str) -> str:
        return f"async {await self.inner.greet.remote(name)}"

    def from_sync(self, name: str) -> str:
        return f"sync {self.inner.greet.remote(name).result(timeout_s=WAIT_S)}"

    async def many(self, count: int) -> list[str]:
        return await asyncio.gather(*[self.inner.greet.remote(i) for i in range(count)])

    async def blocking(self) -> str:
        response = self.inner.greet.remote("me")
        with pytest.raises(RuntimeError, match="await the response instead"):
            response.result()
        return await response

    async def in_thread(self, name: str) -> str:
        return await asyncio.to_thread(self.from_sync, name)

    async def given(self, handle: Any, name: str) -> Any:
        return await handle.remote(name)

    def give(self) -> Any:
        return self.inner


@serve.deployment
class Collector:
    """Takes bound deployments wherever they hide."""

    def __init__(self, listed: list[Any], *, named: dict[str, Any]) -> None:
        self.handles = [*listed, *named.values()]

    async def __call__(self) -> list[str]:
        assert all(isinstance(handle, DeploymentHandle) for handle in self.handles)
        return [await handle.remote("a") for handle in self.handles]


# --- calling ----------------------------------------------------------------------------


def test_run_returns_a_handle(local):
    """`serve.run` returns a handle to the ingress, which gets the arguments unchanged."""
    handle = local.run(Echo.bind(), name="app")
    assert isinstance(handle, DeploymentHandle)
    assert handle.deployment_id == DeploymentId("app", "Echo")
    response = handle.remote(1, "two", three=[3])
    assert isinstance(response, DeploymentResponse)
    assert response.result() == ((1, "two"), {"three": [3]})
    assert handle.remote().result() == ((), {})


def test_a_function_is_called_by_its_handle(local):
    """A deployed function answers as a class with `__call__` does."""
    assert local.run(shout.bind()).remote("hey").result() == "HEY"


def test_remote_does_not_wait(local, gate):
    """`remote` is back while the handler is still at work."""
    response = local.run(Echo.bind()).wait.remote()
    gate.entered()
    gate.open.set()
    assert response.result(timeout_s=WAIT_S) == "waited"


def test_methods(local):
    """Sync and async methods, by attribute and by name, public or not."""
    handle = local.run(Echo.bind())
    assert handle.greet.remote("you").result() == "hello you"
    assert handle.double.remote(21).result() == 42
    assert handle.options(method_name="double").remote("ab").result() == "abab"
    assert handle._hidden.remote().result() == "hidden"
    assert handle.options(method_name="options").remote().result() == "a method of the user's"
    assert handle.greet is handle.greet


def test_a_method_that_is_not_there(local):
    """The call fails, and the error lists the methods; other attributes are no methods."""
    handle = local.run(Echo.bind())
    for name in ("shrink", "attribute"):
        with pytest.raises(NotFoundError, match=rf"default#Echo has no method '{name}'.*double"):
            getattr(handle, name).remote().result()


def test_options(local):
    """`options` returns another handle, and leaves the first one unchanged."""
    handle = local.run(Echo.bind())
    changed = handle.options(multiplexed_model_id="m", session_id="s")
    assert changed.seen.remote().result() == ("m", "s")
    assert changed.options(session_id="t").seen.remote().result() == ("m", "t")
    assert handle.seen.remote().result() == ("", "")


def test_an_unknown_option():
    """The error names the option, the deployment and the options there are."""
    handle = DeploymentHandle(DeploymentId("app", "d"))
    with pytest.raises(ConfigError, match=r"app#d: .*no option 'steam'.*stream"):
        handle.options(steam=True)


def test_arguments_that_cannot_travel(local):
    """`remote` itself raises, names the argument by position or name, and sends nothing."""
    handle = local.run(Echo.bind())
    told = r"double\(\): argument 2 cannot be sent: lock.*Pass picklable values"
    with pytest.raises(ConfigError, match=told):
        handle.double.remote(1, threading.Lock())
    with pytest.raises(ConfigError, match=r"__call__\(\): argument 'key' cannot be sent"):
        handle.remote(1, key=threading.Lock())


def test_a_result_that_cannot_travel(local):
    """The error names deployment and method."""
    handle = local.run(Echo.bind())
    with pytest.raises(
        ConfigError, match=r"default#Echo.closure returned a value that cannot be sent"
    ):
        handle.closure.remote().result()
    assert handle.double.remote(1).result() == 2


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_arrays(local, size):
    """NumPy arrays small and large come back equal and of the same type."""
    array = np.arange(size, dtype=np.float32)
    result = local.run(Echo.bind()).double.remote(array).result()
    assert result.dtype == array.dtype
    np.testing.assert_array_equal(result, array + array)


# --- from where -------------------------------------------------------------------------


async def test_from_another_event_loop(local):
    """Code on a loop of its own awaits responses, many at a time."""
    handle = local.run(Echo.bind())
    results = await asyncio.gather(*[handle.greet.remote(i) for i in range(20)])
    assert results == [f"hello {i}" for i in range(20)]


async def test_waiting_in_a_running_loop_is_refused(local):
    """`result()` in async code raises with the remedy, and the response stays usable."""
    response = local.run(Echo.bind()).greet.remote("you")
    with pytest.raises(RuntimeError, match="await the response instead"):
        response.result()
    assert await response == "hello you"


def test_from_many_threads(local):
    """Threads may share a handle, and each gets the replies of its own calls."""
    handle = local.run(Echo.bind())
    start = threading.Barrier(8)

    def work(worker: int) -> list[Any]:
        start.wait(WAIT_S)
        return [handle.double.remote((worker, i)).result(timeout_s=WAIT_S) for i in range(25)]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(8)))
    assert results == [[(w, i, w, i) for i in range(25)] for w in range(8)]


def test_from_loops_in_several_threads(local):
    """Event loops of different threads share a handle."""
    handle = local.run(Echo.bind())

    async def work(worker: int) -> list[str]:
        return await asyncio.gather(*[handle.greet.remote((worker, i)) for i in range(10)])

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda worker: asyncio.run(work(worker)), range(4)))
    assert results == [[f"hello {(w, i)}" for i in range(10)] for w in range(4)]


@pytest.mark.parametrize("way", ["from_async", "from_sync", "in_thread"])
def test_inside_a_replica(local, way):
    """A bound deployment is called from async handlers, sync handlers, and threads of either."""
    handle = local.run(Caller.bind(Echo.bind()))
    kind = "async" if way == "from_async" else "sync"
    assert getattr(handle, way).remote("x").result(timeout_s=WAIT_S) == f"{kind} hello x"


def test_many_at_once_inside_a_replica(local):
    """Nested calls run concurrently, more of them than the inner deployment takes at a time."""
    handle = local.run(Caller.bind(Echo.bind()))
    results = handle.many.remote(50).result(timeout_s=WAIT_S)
    assert results == [f"hello {i}" for i in range(50)]


def test_blocking_in_an_async_handler_is_refused(local):
    """`result()` on the replica's loop raises, since the reply arrives on that loop."""
    handle = local.run(Caller.bind(Echo.bind()))
    assert handle.blocking.remote().result(timeout_s=WAIT_S) == "hello me"


def test_bound_deployments_arrive_as_handles(local):
    """In lists and dicts of the constructor's arguments, too."""
    app = Collector.bind([shout.bind()], named={"x": shout.options(name="other").bind()})
    assert local.run(app).remote().result() == ["A", "A"]


# --- as a value -------------------------------------------------------------------------


def test_pickling(local):
    """An unpickled handle equals the original, options included, and works."""
    handle = local.run(Echo.bind()).greet
    loaded = pickle.loads(pickle.dumps(handle))
    assert loaded == handle
    assert loaded is not handle
    assert loaded.remote("you").result() == "hello you"
    assert len(pickle.dumps(handle)) < 500


def test_handles_as_arguments_and_results(local):
    """A handle may be sent to another deployment, and come back from one."""
    loud = local.run(shout.bind(), name="loud")
    caller = local.run(Caller.bind(Echo.bind()), name="caller")
    assert caller.given.remote(loud, "psst").result(timeout_s=WAIT_S) == "PSST"
    back = caller.give.remote().result(timeout_s=WAIT_S)
    assert back == DeploymentHandle(DeploymentId("caller", "Echo"))
    assert back.greet.remote("you").result(timeout_s=WAIT_S) == "hello you"


def test_equality():
    """Handles are equal when they call the same method of the same deployment in the same way."""
    one = DeploymentHandle(DeploymentId("app", "d"))
    assert one == DeploymentHandle(DeploymentId("app", "d"))
    assert hash(one) == hash(DeploymentHandle(DeploymentId("app", "d")))
    assert one.method == one.options(method_name="method")
    assert {one, one.options(), one.method} == {one, one.method}
    others = [DeploymentHandle(DeploymentId("app", "e")), one.method, one.options(stream=True), "d"]
    assert all(one != other for other in others)


def test_text():
    """The repr of a handle names application, deployment and method."""
    handle = DeploymentHandle(DeploymentId("app", "d"))
    assert repr(handle.predict) == "<handle to app#d.predict>"


def test_dunder_probes():
    """Python and its libraries that look for a protocol do not take a handle for one of theirs."""
    handle = DeploymentHandle(DeploymentId("app", "d"))
    for name in ("__len__", "__array__", "__await__", "__fspath__", "__wrapped__"):
        assert not hasattr(handle, name)
    for kind in (Iterator, AsyncIterator):
        assert not isinstance(handle, kind)
    assert inspect.unwrap(handle) is handle  # type: ignore[arg-type]
    assert copy.copy(handle) == copy.deepcopy(handle) == handle
    assert bool(handle)
    assert hasattr(handle, "anything_else")


# --- over time --------------------------------------------------------------------------


def test_a_handle_follows_its_deployment(local):
    """Deployed again with other code, the deployment is reached by the handle from before."""

    def make(version: int) -> Any:
        @serve.deployment(name="versioned")
        def versioned() -> int:
            return version

        return versioned.bind()

    handle = local.run(make(1))
    assert handle.remote().result() == 1
    local.run(make(2))
    assert handle.remote().result() == 2


def test_a_handle_of_an_instance_that_was_shut_down(local):
    """A kept handle reaches the deployment of that name in the next instance."""
    handle = local.run(shout.bind())
    method = handle.options(method_name="__call__")
    assert [h.remote("a").result() for h in (handle, method)] == ["A", "A"]
    local.shutdown()
    local.run(shout.bind())
    assert [h.remote("a").result() for h in (handle, method)] == ["A", "A"]


def test_nothing_runs(local, monkeypatch):
    """A call without an instance fails with the remedy, and leaves nothing behind."""
    monkeypatch.setattr("alacarte.serve._current.attach", lambda address=None: None)
    handle = local.run(shout.bind())
    local.shutdown()
    for each in (handle, DeploymentHandle(DeploymentId("default", "shout"))):
        with pytest.raises(ServeError, match=r"alacarte is not running; call serve.start\(\)"):
            each.remote("a")


def members(protocol: type) -> set[str]:
    return {name for name in vars(protocol) if not name.startswith("_") or name in DIRECT}


DIRECT = {"__await__", "__aiter__", "__iter__", "__getattr__"}


def test_the_facade_has_its_names():
    """`serve.run` is typed as `Handle`, and its calls as `HandleResponse`."""
    assert members(Handle) <= set(dir(DeploymentHandle))
    assert members(HandleResponse) >= {"result", "__await__", "__aiter__"}
    assert members(HandleResponse) <= {*dir(DeploymentResponse), *dir(DeploymentResponseGenerator)}
    assert inspect.signature(serve.run).return_annotation == "Handle"
    assert inspect.signature(serve.start).return_annotation == "Client"
