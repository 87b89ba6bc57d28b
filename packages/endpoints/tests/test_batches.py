"""Batched methods, with a stand-in for alacarte-batching, which is not a dependency."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from alacarte import serve
from alacarte.errors import ServeError
from alacarte_endpoints import Client, accept_batch

MADE: list[Any] = []


def batch(*, max_batch_size: int, batch_wait_timeout_s: float) -> Any:
    """Collect calls until the batch is full."""

    def decorate(function: Callable[..., Any]) -> Any:
        waiting: list[tuple[Any, asyncio.Future[Any]]] = []

        async def call(item: Any) -> Any:
            future = asyncio.get_running_loop().create_future()
            waiting.append((item, future))
            if len(waiting) >= gathered.size:
                full, waiting[:] = list(waiting), []
                try:
                    results = await function([each for each, _ in full])
                except Exception as error:
                    for _, each in full:
                        each.set_exception(error)
                else:
                    for (_, each), result in zip(full, results, strict=True):
                        each.set_result(result)
            return await future

        gathered: Any = call
        gathered.size, gathered.wait_s = max_batch_size, batch_wait_timeout_s
        gathered.set_max_batch_size = lambda size: setattr(gathered, "size", size)
        gathered.set_batch_wait_timeout_s = lambda wait_s: setattr(gathered, "wait_s", wait_s)
        MADE.append(gathered)
        return gathered

    return decorate


@pytest.fixture(autouse=True)
def batching(client: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(vars(serve), "batch", batch)
    MADE.clear()
    yield
    MADE.clear()


@accept_batch
def numbers(requests: list[Any]) -> list[Any]:
    return [(request.args["number"], len(requests)) for request in requests]


class Mixed:
    @accept_batch
    async def __call__(self, requests: list[Any]) -> tuple[Any, ...]:
        return tuple(("call", len(requests)) for _ in requests)

    @accept_batch
    def other(self, requests: list[Any]) -> list[Any]:
        return [("other", len(requests)) for _ in requests]

    def single(self, request: Any) -> Any:
        return "single", request.args["number"]


def serve_it(client: Client, target: Any, **config: Any) -> None:
    client.create_backend("b", target, config=config)
    client.create_endpoint("e", backend="b")


def test_requests_come_in_lists(client: Client, ask: Any) -> None:
    """Each caller gets its own result of a batch."""
    serve_it(client, numbers, max_batch_size=3)
    calls = [ask.begin("e", number=number) for number in range(6)]
    assert [call.result(30) for call in calls] == [(number, 3) for number in range(6)]
    assert client.list_backends()["b"] == {
        "accepts_batches": True,
        "num_replicas": 1,
        "max_batch_size": 3,
    }


def test_without_a_size_it_is_one(client: Client, ask: Any) -> None:
    """A batch of one request is a list, too."""
    serve_it(client, numbers)
    assert ask("e", number=1) == (1, 1)


def test_methods_are_not_mixed(client: Client, ask: Any) -> None:
    """Each batched method has its own batches; other methods take single requests."""
    serve_it(client, Mixed, max_batch_size=2)
    calls = [ask.begin("e", method=name) for name in ["__call__", "other", "__call__", "other"]]
    assert [call.result(30) for call in calls] == [("call", 2), ("other", 2)] * 2
    assert ask("e", method="single", number=7) == ("single", 7)


def test_sizes_change_in_place(client: Client, ask: Any) -> None:
    """New limits apply to methods in use and to methods called later."""
    serve_it(client, Mixed, batch_wait_timeout=0.25)
    ask("e")
    assert [(each.size, each.wait_s) for each in MADE] == [(1, 0.25)]
    client.update_backend_config("b", {"max_batch_size": 2, "batch_wait_timeout": 0.5})
    calls = [ask.begin("e", method="other") for _ in range(2)]
    assert [call.result(30) for call in calls] == [("other", 2)] * 2
    assert [(each.size, each.wait_s) for each in MADE] == [(2, 0.5)] * 2


@accept_batch
def as_asked(requests: list[Any]) -> Any:
    results = {"dict": {0: 1}, "set": {1}, "text": "a", "none": None, "generator": iter([1])}
    return results[requests[0].args["kind"]]


@pytest.mark.parametrize("kind", ["dict", "set", "text", "none", "generator"])
def test_results_without_an_order(client: Client, ask: Any, kind: str) -> None:
    """Results without an order are an error for all requests of the batch."""
    serve_it(client, as_asked, max_batch_size=2)
    calls = [ask.begin("e", kind=kind) for _ in range(2)]
    for call in calls:
        with pytest.raises(ServeError, match="b.__call__: .* must return a sequence"):
            call.result(30)
