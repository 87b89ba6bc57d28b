"""Many models in a few replicas, asked for by handle and over HTTP."""

from __future__ import annotations

import json
import random
import urllib.request
from typing import Any

import pytest
from starlette.requests import Request
from tests.integration.instance import Client, Instance

from alacarte import serve
from alacarte.errors import InvalidRequestError
from alacarte.testing import wait_until

HEADER = "serve_multiplexed_model_id"


class Animal:
    def __init__(self, name: str) -> None:
        self.name = name
        self.asked = 0


@serve.deployment(num_replicas=3, ray_actor_options={"num_cpus": 0.2})
class Zoo:
    @serve.multiplexed(max_num_models_per_replica=3)
    async def load(self, name: str) -> Animal:
        return Animal(name)

    async def __call__(self, request: Request) -> list[Any]:
        return await self.ask()

    async def ask(self) -> list[Any]:
        """Return which model, where it is, and how often it was asked here."""
        animal = await self.load(serve.get_multiplexed_model_id())
        animal.asked += 1
        return [animal.name, serve.get_replica_context().replica_id, animal.asked]

    @serve.batch(max_batch_size=4, batch_wait_timeout_s=0.05)
    async def ask_together(self, items: list[int]) -> list[list[Any]]:
        name, replica, _ = await self.ask()
        return [[name, replica, len(items)]] * len(items)


def warm(here: Instance, handle: Any, replicas: int) -> None:
    """Return when this process and the proxy are connected to every replica.

    A process sends its first call as soon as it is connected to one.
    """
    client = Client(here.url)

    def by_handle(name: str) -> str:
        response = handle.options(method_name="ask", multiplexed_model_id=name).remote()
        return str(response.result(timeout_s=30)[1])

    def by_header(name: str) -> str:
        return str(json.loads(client.get("/", **{HEADER: name}).text)[1])

    for way, ask in (("handle", by_handle), ("header", by_header)):
        seen: set[str] = set()
        asked = iter(range(10_000))

        def all_seen(way: str = way, ask: Any = ask, seen: Any = seen, asked: Any = asked) -> bool:
            seen.add(ask(f"warm-{way}-{next(asked)}"))
            return len(seen) == replicas

        wait_until(all_seen, 30, "calls to every replica")
    client.close()


@pytest.mark.minimums
def test_models_by_handle_and_by_header(here: Instance):
    """Handles and the proxy, in processes of their own, find the one replica that holds a model."""
    handle = serve.run(Zoo.bind())
    warm(here, handle, 3)
    lion = handle.options(method_name="ask", multiplexed_model_id="lion")
    name, home, asked = lion.remote().result(timeout_s=30)
    assert (name, asked) == ("lion", 1)
    for count in range(2, 12):
        spelled = HEADER.replace("_", "-") if count % 2 else HEADER
        request = urllib.request.Request(here.url, headers={spelled: "lion"})
        with urllib.request.urlopen(request, timeout=30) as response:
            assert json.load(response) == [name, home, count]
    assert lion.remote().result(timeout_s=30) == [name, home, 12]


def test_hits_in_the_long_run(here: Instance):
    """With room for all models, 95 of 100 requests find theirs loaded, from two processes."""
    handle = serve.run(Zoo.bind()).options(method_name="ask")
    warm(here, handle, 3)
    models = [f"model-{number}" for number in range(8)]
    rng = random.Random(3)
    client = Client(here.url)
    cold = 0
    for number in range(300):
        named = handle.options(multiplexed_model_id=rng.choice(models))
        first = named.remote().result(timeout_s=30)[2] == 1
        answer = client.get("/", **{HEADER: rng.choice(models)})
        first += json.loads(answer.text)[2] == 1
        cold += first if number >= 100 else 0
    client.close()
    assert cold <= 400 * 0.05


def test_a_replica_that_dies(here: Instance):
    """Its models are loaded elsewhere, and the replica that takes its place gets some, too."""
    handle = serve.run(Zoo.options(num_replicas=2).bind()).options(method_name="ask")
    homes = {
        name: handle.options(multiplexed_model_id=name).remote().result(timeout_s=30)[1]
        for name in "abcd"
    }
    # Perhaps not every replica was connected to when the first was loaded.
    killed = homes["a"]
    here.kill_replica(killed)
    wait_until(
        lambda: len(here.replicas()) == 2 and killed not in here.replicas(), 90, "another replica"
    )

    def spread() -> bool:
        found = set()
        for name in "abcdef":
            response = handle.options(multiplexed_model_id=name).remote()
            found.add(response.result(timeout_s=30)[1])
        return len(found) == 2

    wait_until(spread, 90, "models on both replicas")


def test_batches_are_of_one_model(here: Instance):
    """Requests for different models that share a batch are handed over apart."""
    handle = serve.run(Zoo.options(num_replicas=1).bind()).options(method_name="ask_together")
    responses = [handle.options(multiplexed_model_id=name).remote(1) for name in "abab"]
    results = [response.result(timeout_s=30) for response in responses]
    assert [result[0] for result in results] == list("abab")


def test_an_id_that_is_none(here: Instance):
    """A request without a model, or with nonsense for one, is the client's mistake: 400."""
    handle = serve.run(Zoo.bind()).options(method_name="ask")
    answer = here.get("/")
    assert answer.status == 400
    assert "serve_multiplexed_model_id" in answer.text
    answer = here.get("/", **{HEADER: "x" * 300})
    text = "the model id has 300 bytes, the limit is 256; use a shorter id."
    assert (answer.status, answer.text) == (400, text)
    with pytest.raises(InvalidRequestError, match="the limit is 256"):
        handle.options(multiplexed_model_id="x" * 300).remote().result(timeout_s=30)
