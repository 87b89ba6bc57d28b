"""The options of handles, and the options of Ray Serve that are accepted."""

from __future__ import annotations

import math
from typing import Any

import pytest

from alacarte import serve
from alacarte.errors import ConfigError, ReplicaUnavailableError, ServeError
from alacarte.serve import _current
from alacarte_handles import DeploymentHandle

from . import gates
from .gates import WAIT_S


@serve.deployment
class Echo:
    def __call__(self, value: Any) -> Any:
        return value

    def context(self) -> Any:
        found = serve.get_request_context()
        return found.multiplexed_model_id, found.session_id, found.app_name, found.route


@pytest.fixture
def echo(local) -> DeploymentHandle:
    return local.run(Echo.bind(), name="app")


def test_what_arrives(echo):
    """The replica sees the model and the session of the handle that called."""
    handle = echo.options(multiplexed_model_id="m1", session_id="alice")
    assert handle.context.remote().result(timeout_s=WAIT_S) == ("m1", "alice", "app", "")
    assert echo.context.remote().result(timeout_s=WAIT_S) == ("", "", "app", "")


@serve.deployment(num_replicas=2)
class Mortal:
    """Returns its name when the gate opens."""

    async def __call__(self) -> str:
        mine = serve.get_replica_context().replica_id
        gates.GATE.note(mine)
        await gates.GATE.pass_async()
        return mine


def kill(replica_id: str) -> None:
    """End a replica as `kill -9` does."""
    session = _current.current()
    assert session is not None
    for name, actor in list(session.cluster._actors.items()):  # type: ignore[attr-defined]
        if name.endswith(f"replica:{replica_id}"):
            actor.kill()


def test_a_call_that_may_run_twice(local, gate):
    """An idempotent call survives its replica, and another replica answers."""
    handle = local.run(Mortal.bind())
    response = handle.options(idempotent=True).remote()
    gate.entered()
    dead = gate.next_note()
    kill(dead)
    gate.entered()
    gate.open.set()
    assert response.result(timeout_s=WAIT_S) == gate.next_note() != dead


def test_a_call_that_may_run_once(local, gate):
    """A call that is not idempotent, the default, fails with its replica."""
    handle = local.run(Mortal.bind())
    response = handle.remote()
    gate.entered()
    kill(gate.next_note())
    with pytest.raises(ReplicaUnavailableError, match="may have run, and was not retried"):
        response.result(timeout_s=WAIT_S)
    gate.open.set()
    assert gate.notes() == []


@pytest.mark.parametrize(
    "options",
    [
        {"_prefer_local_routing": False},
        {"_by_reference": True},
        {"_by_reference": False},
        {"request_serialization": "pickle", "response_serialization": "cloudpickle"},
    ],
)
def test_words_of_ray_serve(echo, options):
    """Options of Ray Serve without a meaning here are accepted without effect."""
    handle = echo.options(**options)
    assert handle == echo
    response = handle.remote(1)
    assert response.by_reference is False
    assert response.result(timeout_s=WAIT_S) == 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"_prefer_local_routing": True}, "routing_policy"),
        ({"_prefer_local_routing": 1}, "True or False"),
        ({"request_serialization": "msgpack"}, "'cloudpickle' or 'pickle'"),
        ({"response_serialization": "orjson"}, "'cloudpickle' or 'pickle'"),
        ({"methud_name": "f"}, "no option 'methud_name'; its options are method_name"),
        ({"stream": "yes"}, "stream='yes' of a handle must be True or False"),
        ({"idempotent": 1}, "idempotent=1 of a handle must be True or False"),
        ({"session_id": 7}, "session_id=7 of a handle must be a string"),
        ({"timeout_s": math.nan}, "number of seconds"),
        ({"timeout_s": "1"}, "number of seconds"),
    ],
)
def test_what_is_refused(echo, options, reason):
    """The error names deployment, option and allowed values."""
    with pytest.raises(ConfigError, match=f"app#Echo: .*{reason}"):
        echo.options(**options)


def test_connecting_early(echo, local):
    """`_init` connects once, before the first call; the replicas are known soon after."""
    handle = local.get_app_handle("app")
    assert not handle.is_initialized
    assert not handle.running_replicas_populated()
    handle._init(_prefer_local_routing=False, _source="mine")
    assert handle.is_initialized
    with pytest.raises(RuntimeError, match="before the first call"):
        handle._init()
    assert handle.remote(1).result(timeout_s=WAIT_S) == 1
    assert handle.running_replicas_populated()
    other = local.get_app_handle("app")
    with pytest.raises(ConfigError, match="no option 'colour'"):
        other._init(colour="red")


async def test_shutting_down(echo, local):
    """A handle that was shut down calls no more, and others go on."""
    response = echo.remote(1)
    echo.shutdown()
    assert await response == 1
    for call in (echo.remote, lambda value: echo.broadcast("context")):
        with pytest.raises(ServeError, match="was shut down"):
            call(2)
    other = local.get_app_handle("app")
    assert await other.remote(3) == 3
    await other.shutdown_async()
    with pytest.raises(ServeError, match="was shut down"):
        other.remote(4)


@pytest.mark.parametrize("stream", [False, True])
async def test_no_object_references(echo, stream):
    """Ray Serve's methods for object references raise an error with the remedy."""
    response = echo.options(stream=stream).remote(1)
    with pytest.raises(ServeError, match="travels by value"):
        await response._to_object_ref()
    with pytest.raises(ServeError, match="travels by value"):
        response._to_object_ref_sync(_timeout_s=1)
    if stream:
        with pytest.raises(ServeError, match="travels by value"):
            response._to_object_ref_gen()
