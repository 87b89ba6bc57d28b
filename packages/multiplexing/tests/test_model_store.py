"""The models of one loader: loads, sharing, eviction and unloading."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from alacarte.context import current_call
from alacarte.errors import ServeError
from alacarte.types import Call, NestedCalls
from alacarte_multiplexing import _model_store
from alacarte_multiplexing._model_store import ModelStore


class Bench:
    """A loader that records its events and blocks on request."""

    def __init__(self, limit: int, *, fails: frozenset[str] = frozenset()) -> None:
        self.notes: list[str] = []
        self.held: dict[str, asyncio.Event] = {}
        self.fails = fails
        self.told: list[set[str]] = []
        self.store = ModelStore(self.load, limit, self._changed)

    async def load(self, model_id: str) -> Any:
        self.notes.append(f"load {model_id}")
        if model_id in self.held:
            await self.held[model_id].wait()
        if model_id in self.fails:
            raise OSError(f"no {model_id}")
        return _Loaded(self, model_id)

    def hold(self, *model_ids: str) -> None:
        self.held.update({model_id: asyncio.Event() for model_id in model_ids})

    def _changed(self) -> None:
        self.told.append(set(self.store.model_ids))

    async def request(self, *model_ids: str, until: asyncio.Event | None = None) -> list[str]:
        """Request models one after the other, and use them until released."""
        current_call.set(Call("python", (b"",)))
        names = [(await self.store.get(model_id)).name for model_id in model_ids]
        if until is not None:
            await until.wait()
        return names


class _Loaded:
    def __init__(self, bench: Bench, name: str) -> None:
        self.bench = bench
        self.name = name

    def __del__(self) -> None:
        self.bench.notes.append(f"unload {self.name}")


async def settle(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0)


def go(work: Awaitable[Any]) -> asyncio.Task[Any]:
    return asyncio.ensure_future(work)  # type: ignore[return-value]


async def test_least_recently_used_goes_before_the_next_comes() -> None:
    """The least recently used model is unloaded once, before the next load."""
    bench = Bench(2)
    for model_id in ["a", "b", "a", "c", "a", "b"]:
        assert await go(bench.request(model_id)) == [model_id]
    assert bench.notes == ["load a", "load b", "unload b", "load c", "unload c", "load b"]


async def test_no_limit() -> None:
    """With -1 nothing is ever unloaded."""
    bench = Bench(-1)
    for number in range(50):
        await go(bench.request(str(number)))
    assert bench.notes == [f"load {number}" for number in range(50)]


async def test_concurrent_requests_share_a_load() -> None:
    """Concurrent requests for a model share one load and one object."""
    bench = Bench(1)
    bench.hold("a")
    asked = [go(bench.store.get("a")) for _ in range(10)]
    await settle(lambda: bench.notes)
    bench.held["a"].set()
    assert len({id(model) for model in await asyncio.gather(*asked)}) == 1
    assert bench.notes == ["load a"]


async def test_loads_follow_one_another_and_hits_do_not_wait() -> None:
    """Loads run one at a time; cached models are returned meanwhile."""
    bench = Bench(3)
    await go(bench.request("a"))
    bench.hold("b", "c")
    b, c = go(bench.request("b")), go(bench.request("c"))
    await settle(lambda: "load b" in bench.notes)
    assert await go(bench.request("a")) == ["a"]
    assert "load c" not in bench.notes
    bench.held["b"].set()
    assert await b == ["b"]
    await settle(lambda: "load c" in bench.notes)
    bench.held["c"].set()
    assert await c == ["c"]


async def test_a_failed_load_is_told_to_all_and_forgotten() -> None:
    """All waiters get the exception; the next request loads again."""
    bench = Bench(2, fails=frozenset({"a"}))
    bench.hold("a")
    asked = [go(bench.request("a")) for _ in range(3)]
    await settle(lambda: bench.notes)
    bench.held["a"].set()
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert [str(result) for result in results] == ["no a"] * 3
    await settle(lambda: not set(bench.store.model_ids))
    bench.fails = frozenset()
    assert await go(bench.request("a")) == ["a"]
    assert bench.notes == ["load a", "load a"]


async def test_a_model_in_use_stays() -> None:
    """A model in use is not evicted, even if it is the least recently used."""
    bench = Bench(2)
    done = asyncio.Event()
    user = go(bench.request("a", until=done))
    await settle(lambda: bench.notes)
    await go(bench.request("b"))
    await go(bench.request("c"))
    assert bench.notes == ["load a", "load b", "unload b", "load c"]
    done.set()
    assert await user == ["a"]


async def test_a_load_waits_for_a_request_to_end() -> None:
    """If all models are in use, the load waits until one is free and unloaded."""
    bench = Bench(1)
    done = asyncio.Event()
    user = go(bench.request("a", until=done))
    await settle(lambda: bench.notes)
    other = go(bench.request("b"))
    await settle(lambda: {"b"} in bench.told)
    assert bench.notes == ["load a"]
    done.set()
    assert await user == ["a"]
    assert await other == ["b"]
    assert bench.notes == ["load a", "unload a", "load b"]


async def test_the_wait_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the timeout the load proceeds, and the evicted model is unloaded after its request."""
    monkeypatch.setattr(_model_store, "EVICTION_TIMEOUT_S", 0.01)
    bench = Bench(1)
    done = asyncio.Event()
    user = go(bench.request("a", until=done))
    await settle(lambda: bench.notes)
    assert await go(bench.request("b")) == ["b"]
    assert bench.notes == ["load a", "load b"]
    done.set()
    await user
    await settle(lambda: len(bench.notes) == 3)
    assert bench.notes[-1] == "unload a"


async def test_requests_that_need_two_models_do_not_stop_each_other() -> None:
    """Two requests that need each other's model do not deadlock."""
    bench = Bench(1)
    async with asyncio.timeout(_model_store.EVICTION_TIMEOUT_S / 2):
        assert await asyncio.gather(
            go(bench.request("a", "b")), go(bench.request("b", "a")), go(bench.request("c", "a"))
        ) == [["a", "b"], ["b", "a"], ["c", "a"]]
    await settle(lambda: sum(note.startswith("load") for note in bench.notes) >= 3)


async def test_a_fresh_model_reaches_those_who_waited() -> None:
    """A loaded model is not evicted before its waiters have it."""
    bench = Bench(1)
    asked = [go(bench.request(model_id)) for model_id in "abcabcabc"]
    assert await asyncio.gather(*asked) == [[model_id] for model_id in "abcabcabc"]


async def test_a_load_outlives_who_asked() -> None:
    """A started load continues without callers; a load that has not started is dropped."""
    bench = Bench(2)
    bench.hold("a")
    a, b = go(bench.request("a")), go(bench.request("b"))
    await settle(lambda: bench.notes)
    for task in (a, b):
        task.cancel()
    await asyncio.gather(a, b, return_exceptions=True)
    assert set(bench.store.model_ids) == {"a"}
    bench.held["a"].set()
    assert await go(bench.request("a")) == ["a"]
    assert bench.notes == ["load a"]


async def test_one_who_leaves_does_not_take_the_load_along() -> None:
    """A cancelled waiter does not cancel the load of another waiter."""
    bench = Bench(1)
    bench.hold("a")
    first, second = go(bench.request("a")), go(bench.request("a"))
    await settle(lambda: bench.notes)
    first.cancel()
    await settle(first.done)
    bench.held["a"].set()
    assert await second == ["a"]


async def test_a_load_has_no_deadline() -> None:
    """The loader has neither time limit nor end of the request that happened to be first."""
    seen: list[Call | None] = []

    async def load(model_id: str) -> str:
        seen.append(current_call.get())
        return model_id

    store = ModelStore(load, 1, lambda: None)
    first = Call("python", (b"",), model_id="a", deadline=1.0)
    first.nested = NestedCalls()
    current_call.set(first)
    assert await store.get("a") == "a"
    assert seen[0] is not None
    assert (seen[0].model_id, seen[0].deadline, seen[0].nested) == ("a", None, None)


async def test_close_unloads_all() -> None:
    """`close` unloads all models, cancels loads, and refuses new ones."""
    bench = Bench(3)
    await go(bench.request("a"))
    await go(bench.request("b"))
    bench.hold("c")
    loading = go(bench.request("c"))
    await settle(lambda: "load c" in bench.notes)
    await bench.store.close()
    await asyncio.gather(loading, return_exceptions=True)
    assert loading.cancelled()
    assert sorted(bench.notes) == ["load a", "load b", "load c", "unload a", "unload b"]
    assert bench.told[-1] == set()
    with pytest.raises(ServeError, match="stopping"):
        await bench.store.get("a")


async def test_destructors_of_all_kinds() -> None:
    """Sync and async `__del__` run once each; one that raises stops nothing."""
    notes: list[str] = []

    class Async:
        async def __del__(self) -> None:
            await asyncio.sleep(0)
            notes.append("async")

    class Failing:
        def __del__(self) -> None:
            notes.append("failing")
            raise OSError("busy")

    models: dict[str, Any] = {"a": Async(), "f": Failing(), "n": None, "t": (1, 2)}

    async def load(model_id: str) -> Any:
        return models.pop(model_id)

    store = ModelStore(load, 1, lambda: None)
    for model_id in "afnt":
        await store.get(model_id)
    await store.close()
    assert notes == ["async", "failing"]


async def test_what_is_told_includes_what_is_loading() -> None:
    """Routers learn of a model at the start of its load, and of an evicted one."""
    bench = Bench(1)
    await go(bench.request("a"))
    bench.hold("b")
    b = go(bench.request("b"))
    await settle(lambda: "load b" in bench.notes)
    assert bench.told == [{"a"}, {"a"}, {"a", "b"}, {"b"}]
    bench.held["b"].set()
    await b
