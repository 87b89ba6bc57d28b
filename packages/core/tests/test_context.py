"""The current request and replica, and cancellation of nested calls."""

from __future__ import annotations

import time

import pytest

from alacarte import serve
from alacarte.calls import python_call
from alacarte.context import (
    ReplicaContext,
    current_call,
    current_replica,
    get_replica_context,
    get_request_context,
)
from alacarte.errors import ServeError
from alacarte.serve import context as theirs
from alacarte.types import Call, DeploymentId, Identity, NestedCalls

HERE = ReplicaContext(DeploymentId("shop", "model"), "r1", code_version="v1")


@pytest.fixture
def request_here():
    """Set the current call, as a replica does."""
    tokens = []

    def begin(call: Call) -> None:
        tokens.append(current_call.set(call))

    replica = current_replica.set(HERE)
    yield begin
    for token in reversed(tokens):
        current_call.reset(token)
    current_replica.reset(replica)


def test_outside_of_a_request():
    """Outside of a request or replica the functions raise; Ray Serve's context is empty."""
    with pytest.raises(ServeError, match="outside of a request"):
        get_request_context()
    with pytest.raises(ServeError, match="outside of a replica"):
        get_replica_context()
    empty = theirs._get_serve_request_context()
    assert (empty.request_id, empty.route, empty.app_name, empty.deadline) == ("", "", "", None)
    assert empty.remaining_s() is None
    assert not empty.cancelled


def test_what_it_tells(request_here):
    """The context has all fields of the request."""
    call = Call(
        "p", (b"",), request_id="id", app="front", route="/a", model_id="m", routing_key="alice"
    )
    call.identity = Identity("alice", {"tenant": "acme"})
    request_here(call)
    found = serve.get_request_context()
    assert (found.request_id, found.app_name, found.route) == ("id", "front", "/a")
    assert (found.multiplexed_model_id, found.session_id) == ("m", "alice")
    assert found.identity == call.identity
    assert found.remaining_s() is None
    assert theirs._get_serve_request_context() == found


def test_a_nested_call_has_the_identity_of_its_request(request_here):
    """The identity follows the request into every deployment."""
    assert python_call("f", (), {}).identity is None
    request_here(Call("p", (b"",), identity=Identity("alice")))
    assert python_call("f", (), {}).identity == Identity("alice")


def test_the_application_of_a_call_from_outside(request_here):
    """A call that enters through no application has the application of its replica."""
    request_here(Call("p", (b"",)))
    assert get_request_context().app_name == "shop"


def test_time_left(request_here):
    """The remaining time falls to zero, never below."""
    request_here(Call("p", (b"",), deadline=time.monotonic() + 100))
    assert 90 < get_request_context().remaining_s() <= 100
    request_here(Call("p", (b"",), deadline=time.monotonic() - 1))
    assert get_request_context().remaining_s() == 0.0


def test_whether_anybody_waits(request_here):
    """An earlier context object shows a later cancellation."""
    call = Call("p", (b"",))
    call.nested = NestedCalls()
    request_here(call)
    found = get_request_context()
    assert not found.cancelled
    call.nested.cancel()
    assert found.cancelled


def test_the_replica(request_here):
    """The replica's context has Ray Serve's names, too."""
    found = serve.get_replica_context()
    assert (found.app_name, found.deployment) == tuple(found.deployment_id) == ("shop", "model")
    assert (found.replica_tag, found.replica_id, found.code_version) == ("r1", "r1", "v1")
    assert found.servable_object is None


# --- nested calls -----------------------------------------------------------------------


class Work:
    def __init__(self) -> None:
        self.cancelled = 0

    def cancel(self) -> None:
        self.cancelled += 1


def test_nested_calls_are_cancelled_with_their_request():
    """Pending calls are cancelled, ended calls are not."""
    nested, ended, running = NestedCalls(), Work(), Work()
    nested.add(ended)
    nested.add(running)
    nested.discard(ended)
    nested.cancel()
    assert (nested.cancelled, ended.cancelled, running.cancelled) == (True, 0, 1)


def test_a_call_made_meanwhile_is_cancelled():
    """A call that a thread adds during the cancellation is cancelled, too."""
    nested, late = NestedCalls(), Work()
    nested.cancel()
    nested.add(late)
    assert late.cancelled == 1


async def test_a_call_made_to_clean_up_is_not():
    """A call on the loop after the cancellation is cleanup, and runs."""
    nested, late = NestedCalls(), Work()
    nested.cancel()
    nested.add(late)
    assert late.cancelled == 0


def test_what_a_request_left_behind():
    """A call continues after the end of its request, whatever happens later."""
    nested, left, later = NestedCalls(), Work(), Work()
    nested.add(left)
    nested.close()
    nested.add(later)
    nested.cancel()
    assert (left.cancelled, later.cancelled) == (0, 0)
