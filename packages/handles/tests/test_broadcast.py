"""Broadcasts: one call to every replica."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest

from alacarte import serve
from alacarte.errors import (
    ConfigError,
    DeadlineExceededError,
    DeploymentUnavailableError,
    NotFoundError,
    RequestCancelledError,
    ServeError,
)

from . import gates
from .gates import WAIT_S


@serve.deployment(num_replicas=3, max_ongoing_requests=1)
class Model:
    def __init__(self) -> None:
        self.weights = "old"
        self.id = serve.get_replica_context().replica_id

    async def load(self, weights: str, *, loud: bool = False) -> tuple[str, str]:
        self.weights = weights.upper() if loud else weights
        return self.id, self.weights

    def named(self) -> str:
        return self.id

    async def fail(self, but: str) -> str:
        if self.id != but:
            raise KeyError(self.id)
        return "well"

    async def wait(self) -> str:
        await gates.GATE.pass_async()
        return self.weights

    async def stay(self) -> None:
        await gates.GATE.wait_cancelled()


@pytest.fixture
def model(local):
    return local.run(Model.bind())


def test_every_replica_gets_the_call(model):
    """Each gives its result, with positional and named arguments, and sync methods too."""
    found = model.broadcast("load", "new", loud=True).results(timeout_s=WAIT_S)
    assert [weights for _, weights in found] == ["NEW"] * 3
    assert len({replica for replica, _ in found}) == 3
    assert len(set(model.broadcast("named").results(timeout_s=WAIT_S))) == 3


def test_full_replicas_get_the_call(model, gate):
    """A broadcast passes the limit on requests, which still holds for other calls."""
    waiting = [model.wait.remote() for _ in range(3)]
    for _ in waiting:
        gate.entered()
    results = model.broadcast("load", "new").results(timeout_s=WAIT_S)
    assert [weights for _, weights in results] == ["new"] * 3
    fourth = model.wait.remote()
    assert not gate.inside.acquire(timeout=0.05)
    gate.open.set()
    assert [each.result(timeout_s=WAIT_S) for each in [*waiting, fourth]] == ["new"] * 4


async def test_on_an_event_loop(model):
    """In async code `results` raises and names `results_async`, which works."""
    response = model.broadcast("load", "x")
    assert len(await response.results_async(timeout_s=WAIT_S)) == 3
    with pytest.raises(RuntimeError, match="results_async"):
        response.results()


def test_failures(model):
    """The first is raised; or each stands in its replica's place."""
    one = model.broadcast("named").results()[0]
    with pytest.raises(KeyError):
        model.broadcast("fail", one).results(timeout_s=WAIT_S)
    found = model.broadcast("fail", one).results(timeout_s=WAIT_S, return_exceptions=True)
    assert sorted(type(each).__name__ for each in found) == ["KeyError", "KeyError", "str"]
    with pytest.raises(NotFoundError, match="no method 'nothing'"):
        model.broadcast("nothing").results(timeout_s=WAIT_S)


def test_giving_up(model, gate):
    """Waiting ends with its time; deadline and `cancel` end the handlers, too."""
    response = model.broadcast("stay")
    for _ in range(3):
        gate.entered()
    with pytest.raises(TimeoutError):
        response.results(timeout_s=0.01)
    with pytest.raises(TimeoutError):
        asyncio.run(response.results_async(timeout_s=0.01))
    assert gate.notes() == []
    response.cancel()
    assert [gate.next_note() for _ in range(3)] == ["cancelled"] * 3
    assert response.cancelled()
    with pytest.raises(RequestCancelledError, match=response.request_id):
        response.results()
    with pytest.raises(DeadlineExceededError, match=r"0\.1 s"):
        model.options(timeout_s=0.1).broadcast("stay").results()
    assert [gate.next_note() for _ in range(3)] == ["cancelled"] * 3


def test_a_broadcast_without_replicas(model, local):
    """A broadcast to a deployment that is deleted or unknown fails."""
    local.delete("default")
    with pytest.raises(DeploymentUnavailableError, match="Model"):
        model.broadcast("named").results(timeout_s=WAIT_S)


def test_what_is_refused(model):
    """Streams, responses as arguments, values that do not pickle, and pickling are refused."""
    with pytest.raises(ConfigError, match="cannot stream"):
        model.options(stream=True).broadcast("load")
    with pytest.raises(ConfigError, match="takes no responses"):
        model.broadcast("load", model.named.remote())
    with pytest.raises(ConfigError, match=r"load\(\): argument 1"):
        model.broadcast("load", (each for each in "ab"))
    with pytest.raises(ServeError, match="send its results"):
        pickle.dumps(model.broadcast("named"))


@serve.deployment
class Teller:
    def __init__(self, model: Any) -> None:
        self.model = model

    async def tell(self) -> int:
        return len(await self.model.broadcast("named").results_async())

    def tell_sync(self) -> int:
        return len(self.model.broadcast("named").results())


def test_inside_a_replica(local):
    """From handlers of both kinds."""
    teller = local.run(Teller.bind(Model.bind()))
    assert teller.tell.remote().result(timeout_s=WAIT_S) == 3
    assert teller.tell_sync.remote().result(timeout_s=WAIT_S) == 3
