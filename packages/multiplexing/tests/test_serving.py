"""Models on the local cluster: calls find the replicas that hold theirs.

With core alone: calls are made as packages make them, through the runtime.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from alacarte import serve
from alacarte.calls import python_call, python_result
from alacarte.errors import InvalidRequestError
from alacarte.runtime import get_runtime
from alacarte.testing import local_instance, wait_until
from alacarte.types import DeploymentId

HERE = DeploymentId("default", "Zoo")
LOG: list[tuple[str, str, str]] = []
"""What loaders did: what, which model, in which replica. Replicas live in this process."""
GATES: dict[str, threading.Event] = {}


class Animal:
    def __init__(self, name: str) -> None:
        self.name = name
        self.replica = serve.get_replica_context().replica_id
        LOG.append(("load", name, self.replica))

    def __del__(self) -> None:
        LOG.append(("unload", self.name, self.replica))


async def opened(name: str) -> None:
    gate = GATES.get(name)
    if gate is not None:
        await asyncio.to_thread(gate.wait, 20)


@serve.deployment(max_ongoing_requests=20)
class Zoo:
    @serve.multiplexed(max_num_models_per_replica=3)
    async def load(self, name: str) -> Animal:
        await opened(name)
        if name == "unicorn":
            raise LookupError("there are none")
        return Animal(name)

    async def __call__(self) -> tuple[str, str]:
        animal = await self.load(serve.get_multiplexed_model_id())
        return animal.name, animal.replica

    async def feed(self) -> tuple[str, str]:
        """Use a model until its gate opens."""
        animal = await self.load(serve.get_multiplexed_model_id())
        await opened(f"feed {animal.name}")
        return animal.name, animal.replica


@pytest.fixture(autouse=True)
def instance(alone: None) -> Iterator[None]:
    LOG.clear()
    with local_instance():
        yield
    for gate in GATES.values():
        gate.set()
    GATES.clear()


def begin(model_id: str, method: str = "__call__", where: DeploymentId = HERE) -> Future[Any]:
    runtime = get_runtime()

    async def call() -> Any:
        request = python_call(method, (), {}, model_id=model_id)
        return python_result(await runtime.service(where)(request))

    return runtime.submit(call())


def ask(model_id: str, method: str = "__call__", where: DeploymentId = HERE) -> Any:
    return begin(model_id, method, where).result(30)


def loads(model_id: str | None = None) -> int:
    return sum(what == "load" and model_id in (None, name) for what, name, _ in LOG)


def run(replicas: int, **options: Any) -> None:
    serve.run(Zoo.options(num_replicas=replicas, **options).bind())
    connected(HERE, replicas)


def connected(where: DeploymentId, replicas: int) -> None:
    """Wait until calls from here may go to every replica."""
    runtime = get_runtime()

    async def service() -> None:
        runtime.service(where)

    runtime.submit(service()).result(20)
    router = runtime.routers[where]  # type: ignore[attr-defined]
    wait_until(lambda: len(router.replicas) == replicas, 20)


def test_a_model_is_loaded_once_and_found_again() -> None:
    """Requests for a model go to the replica that has it."""
    run(3)
    first = ask("lion")
    assert all(ask("lion") == first for _ in range(50))
    assert [("load", "lion", first[1])] == LOG


def test_first_requests_meet_at_one_replica() -> None:
    """Concurrent first requests for a model cause one load."""
    run(3)
    asked = [begin("lion") for _ in range(15)]
    assert len({each.result(30) for each in asked}) == 1
    assert loads() == 1


def test_models_spread_over_the_replicas() -> None:
    """A new model goes to the replica with the fewest models."""
    run(3)
    homes = Counter(ask(str(number))[1] for number in range(9))
    assert sorted(homes.values()) == [3, 3, 3]
    assert loads() == 9


@pytest.mark.parametrize("at_once", [1, 6])
def test_hits_in_the_long_run(at_once: int) -> None:
    """With room for all models, 95 of 100 requests and more find theirs loaded."""
    run(3)
    models = [f"model-{number}" for number in range(8)]
    rng = random.Random(7)
    for _ in range(600 // at_once):
        for call in [begin(rng.choice(models)) for _ in range(at_once)]:
            call.result(30)
    assert loads() <= 600 * 0.05


def test_a_busy_model_spreads() -> None:
    """If the model's replica is full, the next request loads the model on another one."""
    run(2, max_ongoing_requests=1)
    GATES["feed lion"] = threading.Event()
    first = begin("lion", "feed")
    wait_until(lambda: loads("lion") == 1, 20)
    _name, replica = ask("lion")
    assert not first.done()
    GATES["feed lion"].set()
    assert first.result(30)[1] != replica
    assert loads("lion") == 2


def test_the_oldest_model_leaves() -> None:
    """A full replica unloads the least recently used model, and routers learn of it."""
    run(1)
    for name in ["ant", "bee", "cat", "ant", "dog"]:
        ask(name)
    told = [(what, name) for what, name, _ in LOG]
    assert told[-2:] == [("unload", "bee"), ("load", "dog")]
    assert loads() == 4


def test_a_model_in_use_is_not_unloaded() -> None:
    """If the oldest model is in use, a younger one is unloaded."""
    run(1)
    GATES["feed ant"] = threading.Event()
    fed = begin("ant", "feed")
    wait_until(lambda: loads("ant") == 1, 20)
    for name in ["bee", "cat", "dog"]:
        ask(name)
    assert [name for what, name, _ in LOG if what == "unload"] == ["bee"]
    GATES["feed ant"].set()
    assert fed.result(30)[0] == "ant"


def test_a_loader_that_fails() -> None:
    """Callers get the loader's exception, and the next request loads again."""
    run(1)
    for _ in range(2):
        with pytest.raises(LookupError, match="there are none"):
            ask("unicorn")
    assert ask("lion")[0] == "lion"


@pytest.mark.parametrize("model_id", ["", "x" * 300, "a\nb"])
def test_ids_that_are_none(model_id: str) -> None:
    """An invalid id reaches no loader; the caller gets the reason."""
    run(1)
    with pytest.raises(InvalidRequestError, match="default#Zoo: the "):
        ask(model_id)
    assert LOG == []


def test_all_are_unloaded_at_the_end() -> None:
    """A stopping replica unloads each of its models once."""
    run(2)
    for number in range(6):
        ask(str(number))
    serve.delete("default")
    wait_until(lambda: len(LOG) == 12, 20)
    assert Counter(name for what, name, _ in LOG if what == "unload") == Counter("012345")


def held() -> dict[str, frozenset[str]]:
    """Return the models by replica that the driver's router knows."""
    router = get_runtime().routers[HERE]  # type: ignore[attr-defined]
    return {replica.replica_id: replica.model_ids for replica in router.replicas}


@serve.deployment
class Visitor:
    """A caller with a router of its own, connected on first use."""

    async def __call__(self) -> Any:
        runtime = get_runtime()
        request = python_call("__call__", (), {}, model_id="lion")
        service = runtime.service(HERE)
        router = runtime.routers[HERE]  # type: ignore[attr-defined]
        async with asyncio.timeout(20):
            while len(router.replicas) < 3:
                await asyncio.sleep(0)
            before = [r.model_ids for r in router.replicas]
            while not any("lion" in replica.model_ids for replica in router.replicas):
                await asyncio.sleep(0)
        return before, python_result(await service(request))


def test_who_connects_later_is_told() -> None:
    """A router that connects later sends its first request to the model's replica."""
    run(3)
    home = ask("lion")
    serve.run(Visitor.bind(), name="visitor")
    _, found = ask("", where=DeploymentId("visitor", "Visitor"))
    assert tuple(found) == tuple(home)
    assert loads() == 1


def test_a_replica_that_is_replaced() -> None:
    """A new replica has no models, and gets them again."""
    run(1)
    old = ask("lion")[1]
    wait_until(lambda: held() == {old: frozenset({"lion"})}, 20)
    serve.run(Zoo.options(num_replicas=1, ray_actor_options={"num_cpus": 0.5}).bind())
    wait_until(lambda: held().keys() - {old} and old not in held(), 20)
    new = ask("lion")[1]
    assert new != old
    assert loads("lion") == 2
    wait_until(lambda: held() == {new: frozenset({"lion"})}, 20)


@serve.multiplexed(max_num_models_per_replica=1)
async def of_the_module(name: str) -> Animal:
    return Animal(name)


@serve.deployment(num_replicas=2)
async def function() -> tuple[str, str]:
    animal = await of_the_module(serve.get_multiplexed_model_id())
    return animal.name, animal.replica


def test_a_loader_that_is_a_function() -> None:
    """A loader function has separate models per replica, even in one process."""
    serve.run(function.bind(), name="f")
    where = DeploymentId("f", "function")
    connected(where, 2)
    homes = {ask(name, where=where) for name in ["lion", "ant"]}
    assert len({replica for _, replica in homes}) == 2
    assert {ask(name, where=where) for name in ["lion", "ant"]} == homes
    assert loads() == 2
