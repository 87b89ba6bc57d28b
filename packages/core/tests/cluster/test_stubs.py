"""Stubs: a protocol's method becomes a call of an actor, on the terms that the method declares."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Protocol

import pytest

from alacarte._cluster.cluster_protocol import ActorContext, ActorSpec
from alacarte._cluster.local import LocalCluster
from alacarte._cluster.stubs import RemoteCall, make_stub, stub
from alacarte.actors import ActorDied, ActorUnresponsive, CallTerms, remote


class Shelf(Protocol):
    @remote(timeout_s=5.0, repeatable=True)
    async def count(self, kind: str, above: int = 0) -> int:
        """Count."""

    @remote(timeout_s=5.0, repeatable=False, extended_by="limit_s")
    async def sort(self, limit_s: float) -> None:
        """Sort."""

    @remote(timeout_s=None, repeatable=True)
    async def emptied(self) -> None:
        """Return when the shelf is empty."""


class Pulsing(Protocol):
    @remote(timeout_s=20.0, repeatable=True, needs_loop=False)
    async def probe_liveness(self) -> str:
        """Return a sign of life."""

    @remote(timeout_s=None, repeatable=False)
    async def block(self) -> None:
        """Keep the event loop busy."""


class PulsingActor:
    """An actor whose loop a call blocks, as user code may."""

    blocked = threading.Event()
    unblock = threading.Event()

    def __init__(self, context: ActorContext) -> None:
        self._name = context.name

    def probe_liveness(self) -> str:
        return self._name

    async def block(self) -> None:
        self.blocked.set()
        self.unblock.wait(20)


class FakeActor:
    """An actor that answers with a value, an error, or never."""

    name = "the shelf"

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.calls: list[tuple[Any, ...]] = []

    async def call(self, method: str, *args: Any) -> Any:
        self.calls.append((method, *args))
        if isinstance(self.answer, BaseException):
            raise self.answer
        if self.answer is None:
            await asyncio.Event().wait()
        return self.answer

    async def wait_closed(self) -> str:
        return ""

    def kill(self) -> None:
        pass


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_arguments_go_by_position():
    """A stub sends keywords and defaults as positional arguments."""
    actor = FakeActor(7)
    shelf = stub(Shelf, actor)
    assert await shelf.count("books") == 7
    assert await shelf.count(above=3, kind="books") == 7
    assert actor.calls == [("count", "books", 0), ("count", "books", 3)]
    with pytest.raises(TypeError, match="unexpected keyword argument 'below'"):
        await shelf.count("books", below=3)  # type: ignore[call-arg]


def test_patience_is_declared_on_the_method(run: Any):
    """After its timeout a call raises ActorUnresponsive; an argument may extend the timeout."""

    async def main() -> None:
        shelf = stub(Shelf, FakeActor())
        began = now()
        with pytest.raises(ActorUnresponsive, match="the shelf has not answered 'count' for 5 s"):
            await shelf.count("books")
        assert now() == pytest.approx(began + 5)
        with pytest.raises(ActorUnresponsive, match="for 65 s"):
            await shelf.sort(60.0)
        assert now() == pytest.approx(began + 70)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1000):
                await shelf.emptied()
        assert now() == pytest.approx(began + 1070)

    run(main)


@pytest.mark.parametrize("error", [ActorDied("gone"), TimeoutError("its own"), ValueError("bad")])
async def test_errors_pass(error: Exception):
    """Errors of the actor and its method reach the caller, even the method's own TimeoutError."""
    with pytest.raises(type(error)) as caught:
        await stub(Shelf, FakeActor(error)).count("books")
    assert caught.value is error


async def test_a_sender_of_the_caller_s_choice():
    """A sender, such as a client that retries, gets the call and its terms."""
    sent: list[RemoteCall] = []

    async def send(call: RemoteCall) -> int:
        sent.append(call)
        return len(sent)

    assert await make_stub(Shelf, send).count("books") == 1
    assert sent == [RemoteCall("count", CallTerms(5.0, True), ("books", 0), 5.0)]


def test_a_call_does_not_show_its_arguments():
    """The `repr` of a call hides the arguments, which may hold secrets."""
    shown = repr(RemoteCall("count", CallTerms(5.0, True), ("password", {"key": "hidden"}), 5.0))
    assert "count" in shown
    assert "password" not in shown
    assert "hidden" not in shown


async def test_a_blocked_loop_answers_calls_that_need_no_loop():
    """The host's thread answers a plain method; an actor that is gone answers no call."""
    cluster = LocalCluster()
    actor = await cluster.start_actor(ActorSpec("pulsing", f"{__name__}:PulsingActor"))
    pulsing = stub(Pulsing, actor)
    blocking = asyncio.create_task(pulsing.block())
    try:
        assert await asyncio.to_thread(PulsingActor.blocked.wait, 20)
        assert await pulsing.probe_liveness() == "pulsing"
        assert not blocking.done()
    finally:
        PulsingActor.unblock.set()
    await blocking
    actor.kill()
    with pytest.raises(ActorDied):
        await pulsing.probe_liveness()


def test_invalid_protocols_of_actors():
    """Making a stub fails for a method without terms, and for one that no actor could answer."""

    class Undeclared(Protocol):
        async def count(self) -> int:
            """Count."""

    class Sync(Protocol):
        @remote(timeout_s=1.0, repeatable=True)
        def count(self) -> int:
            """Count."""

    class Keywords(Protocol):
        @remote(timeout_s=1.0, repeatable=True)
        async def count(self, *, above: int) -> int:
            """Count."""

    class Misnamed(Protocol):
        @remote(timeout_s=1.0, repeatable=True, extended_by="limit_s")
        async def count(self, limit: float) -> int:
            """Count."""

    for protocol, message in [
        (Undeclared, "declare its terms"),
        (Sync, "must be async"),
        (Keywords, "passed by position"),
        (Misnamed, "extended_by='limit_s' names no argument"),
    ]:
        with pytest.raises(TypeError, match=message):
            stub(protocol, FakeActor())
