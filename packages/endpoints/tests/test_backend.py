"""The adapter around user code, in replicas of the local cluster in this process."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from alacarte import serve
from alacarte.errors import DeployError, InvalidRequestError
from alacarte.testing import wait_until
from alacarte_endpoints import Client, ServeRequest

LOG: list[Any] = []
GATE = threading.Event()
ADAPTERS: list[Any] = []


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    LOG.clear()
    ADAPTERS.clear()
    GATE.clear()
    yield
    GATE.set()


class Ask:
    """Replaced by a fixture."""

    begin: Any

    def __call__(self, endpoint: str, request: Any = None, **options: Any) -> Any: ...


def serve_it(client: Client, target: Any, *args: Any, **config: Any) -> None:
    client.create_backend("b", target, *args, config=config)
    client.create_endpoint("e", backend="b")


class Database:
    """An object that only the thread of its creation may call."""

    def __init__(self) -> None:
        self.rows = sqlite3.connect(":memory:")
        self.rows.execute("create table row (value)")

    def __call__(self, request: Any) -> int:
        self.rows.execute("insert into row values (1)")
        return int(self.rows.execute("select count(*) from row").fetchone()[0])

    def __del__(self) -> None:
        self.rows.close()


def test_sync_code_has_one_thread(client: Client, ask: Ask) -> None:
    """A thread-bound object can be created, used and destroyed in a backend."""
    serve_it(client, Database)
    assert [ask("e"), ask("e")] == [1, 2]


# --- what user code is given ------------------------------------------------------------------


def describe(request: ServeRequest) -> Any:
    return type(request).__name__, request.data, request.args.getlist("a"), request.method


class Named:
    def __init__(self, first: str, second: str = "") -> None:
        self.name = first + second
        self.tag = serve.get_current_backend_tag()

    def __call__(self, request: Any) -> Any:
        return self.name, self.tag

    async def later(self, request: Any) -> str:
        return f"later {self.name}"

    def here(self, request: Any) -> Any:
        return serve.get_current_backend_tag(), serve.get_current_replica_tag()

    def _private(self, request: Any) -> None:
        raise AssertionError


def test_a_function_gets_a_request(client: Client, ask: Ask) -> None:
    """A function reads the arguments of the handle's call."""
    serve_it(client, describe)
    assert ask("e", a=[1, 2]) == ("ServeRequest", None, [1, 2], "GET")
    assert ask("e", ServeRequest("data", method="PUT")) == ("ServeRequest", "data", [], "PUT")


def test_a_class_is_constructed(client: Client, ask: Ask) -> None:
    """The constructor gets the arguments of `create_backend`, and knows its backend."""
    serve_it(client, Named, "a", "b")
    assert ask("e") == ("ab", "b")
    tag, replica = ask("e", method="here")
    assert tag == "b"
    assert replica in client_replicas("b")


class Web:
    """A stand-in for a Starlette request, which the http package creates."""

    def __init__(self, method: bytes) -> None:
        self.scope = {"headers": [(b"x-serve-call-method", method)]}


def test_a_request_picks_the_method(client: Client, ask: Ask) -> None:
    """A request names a method by a handle's option, or by an HTTP header."""
    serve_it(client, Named, "a")
    assert ask("e", method="later") == "later a"
    assert ask("e", Web(b"later")) == "later a"


@pytest.mark.parametrize("method", ["nope", "_private", "__init__", "name"])
def test_a_method_that_there_is_not(client: Client, ask: Ask, method: str) -> None:
    """The error lists the methods, without private methods and attributes."""
    serve_it(client, Named, "a")
    with pytest.raises(InvalidRequestError, match="it has: __call__, here, later"):
        ask("e", method=method)


def test_a_function_has_no_methods(client: Client, ask: Ask) -> None:
    """Requests cannot call attributes of functions."""
    serve_it(client, describe)
    with pytest.raises(InvalidRequestError, match="no method 'mro'; it has: __call__."):
        ask("e", method="mro")


# --- where it runs ------------------------------------------------------------------------


def one_at_a_time(request: ServeRequest) -> Any:
    """Record the start and end of a call; the first call waits for the gate."""
    ADAPTERS.append(serve.get_replica_context().servable_object)
    number = request.args["number"]
    LOG.append(("begin", number))
    assert GATE.wait(20)
    LOG.append(("end", number))
    return number, threading.current_thread().name


def handed_over() -> list[Future[Any]]:
    """Return a list that gets all further work of the adapter's thread."""
    futures: list[Future[Any]] = []
    thread = ADAPTERS[0]._thread
    submit = thread.submit

    def noted(*args: Any) -> Future[Any]:
        futures.append(submit(*args))
        return futures[-1]

    thread.submit = noted
    return futures


def test_sync_code_runs_one_call_at_a_time(client: Client, ask: Ask) -> None:
    """Sync calls run one after the other, in one thread."""
    serve_it(client, one_at_a_time)
    first = ask.begin("e", number=1)
    wait_until(lambda: LOG == [("begin", 1)], 20)
    waiting = handed_over()
    second = ask.begin("e", number=2)
    wait_until(lambda: len(waiting) == 1, 20)
    GATE.set()
    threads = {first.result(30)[1], second.result(30)[1]}
    assert LOG == [("begin", 1), ("end", 1), ("begin", 2), ("end", 2)]
    assert len(threads) == 1


def test_what_was_cancelled_does_not_run(client: Client, ask: Ask) -> None:
    """A call that is cancelled while it waits for the thread never runs."""
    serve_it(client, one_at_a_time)
    first = ask.begin("e", number=1)
    wait_until(lambda: LOG == [("begin", 1)], 20)
    waiting = handed_over()
    second = ask.begin("e", number=2)
    wait_until(lambda: len(waiting) == 1, 20)
    second.cancel()
    wait_until(lambda: waiting[0].cancelled(), 20)
    third = ask.begin("e", number=3)
    GATE.set()
    assert (first.result(30)[0], third.result(30)[0]) == (1, 3)
    assert [number for what, number in LOG if what == "begin"] == [1, 3]


class Together:
    def __init__(self) -> None:
        self.barrier = asyncio.Barrier(2)

    async def __call__(self, request: Any) -> int:
        async with asyncio.timeout(20):
            return await self.barrier.wait()


def test_async_code_runs_together(client: Client, ask: Ask) -> None:
    """Async calls run concurrently: two calls that wait for each other both end."""
    serve_it(client, Together)
    calls = [ask.begin("e") for _ in range(2)]
    assert sorted(call.result(30) for call in calls) == [0, 1]


def stops(request: Any) -> None:
    raise StopIteration


def test_stop_iteration(client: Client, ask: Ask) -> None:
    """StopIteration arrives as an error, though a future cannot raise it."""
    serve_it(client, stops)
    with pytest.raises(RuntimeError, match="raised StopIteration"):
        ask("e")


def hands_back(request: Any) -> Any:
    async def answer() -> str:
        return "a coroutine's"

    return answer()


def test_a_function_that_returns_a_coroutine(client: Client, ask: Ask) -> None:
    """A coroutine that a sync function returns is awaited."""
    serve_it(client, hands_back)
    assert ask("e") == "a coroutine's"


# --- its life -----------------------------------------------------------------------------


class Living:
    async def __init__(self) -> None:  # type: ignore[misc]
        LOG.append("made")
        self.me = self  # reference counts alone never free it

    def reconfigure(self, config: Any) -> None:
        LOG.append(config)

    def check_health(self) -> None:
        LOG.append("healthy")

    def __call__(self, request: Any) -> list[Any]:
        return list(LOG)

    def __del__(self) -> None:
        LOG.append("gone")


def test_the_life_of_an_object(client: Client, ask: Ask) -> None:
    """Constructor, `reconfigure`, health check and destructor run in one thread."""
    serve_it(client, Living, user_config={"a": 1})
    assert ask("e")[:3] == ["made", {"a": 1}, "healthy"]
    client.delete_endpoint("e")
    client.delete_backend("b")
    assert LOG.count("gone") == 1


def test_without_a_user_config(client: Client) -> None:
    """`reconfigure` is called on changes only, and never with None."""
    serve_it(client, Living)
    client.update_backend_config("b", {"batch_wait_timeout": 0.1})
    assert all(each in ("made", "healthy") for each in LOG)
    before = client_replicas("b")
    client.update_backend_config("b", {"user_config": [1]})
    client.update_backend_config("b", {"batch_wait_timeout": 0.2, "max_concurrent_queries": 3})
    assert [each for each in LOG if isinstance(each, list)] == [[1]]
    assert client_replicas("b") == before


class Broken:
    def __init__(self) -> None:
        raise OSError("no weights")


def test_a_constructor_that_fails(client: Client) -> None:
    """The error of a constructor arrives, and the backend is deleted."""
    with pytest.raises(DeployError, match="OSError: no weights"):
        client.create_backend("b", Broken)
    assert client.list_backends() == {}
    client.create_backend("b", describe)


def client_replicas(tag: str) -> set[str]:
    """Return the running replicas of a backend."""
    [deployment] = serve.status().applications[tag].deployments.values()
    return {each.replica_id for each in deployment.replicas if each.state == "RUNNING"}
