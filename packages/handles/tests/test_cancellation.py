"""A cancelled request cancels its nested calls, at every hop."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from alacarte import serve
from alacarte.errors import DeadlineExceededError, RequestCancelledError
from alacarte.testing import wait_until

from . import gates
from .gates import WAIT_S

RUNNING: dict[str, int] = {}
"""How many handlers run, by hop."""
_lock = threading.Lock()


def _count(hop: str, change: int) -> None:
    with _lock:
        RUNNING[hop] = RUNNING.get(hop, 0) + change


@serve.deployment(max_ongoing_requests=8)
class Last:
    """The end of a chain: its handlers run until they are cancelled, and record that."""

    async def stay(self) -> None:
        await gates.GATE.wait_cancelled()

    async def drip(self) -> Any:
        yield 0
        await gates.GATE.wait_cancelled()

    async def note(self, what: str) -> None:
        gates.GATE.note(what)

    async def wait(self, value: Any = None) -> Any:
        await gates.GATE.pass_async()
        gates.GATE.note(f"done {value}")
        return value


@serve.deployment(max_ongoing_requests=8)
class Middle:
    """One method for each way to make a nested call without waiting for it."""

    def __init__(self, last: Any) -> None:
        self.last = last

    async def awaited(self) -> None:
        await self.last.stay.remote()

    async def kept(self) -> None:
        """A call that is held, and not waited for."""
        self.response = self.last.stay.remote()
        await asyncio.Event().wait()

    async def dropped(self) -> None:
        self.last.stay.remote()
        await asyncio.Event().wait()

    async def timed(self) -> None:
        """A call with a deadline runs in a task of its own."""
        self.last.stay.options(timeout_s=60).remote()
        await asyncio.Event().wait()

    async def chained(self) -> None:
        self.last.wait.remote(self.last.stay.remote())
        await asyncio.Event().wait()

    async def shielded(self) -> None:
        await asyncio.shield(self.last.stay.remote())

    async def in_a_task(self) -> None:
        self.task = asyncio.create_task(_await(self.last.stay.remote()))
        await asyncio.Event().wait()

    async def streamed(self) -> None:
        async for _ in self.last.options(stream=True).drip.remote():
            pass

    async def stream_held(self) -> None:
        """A stream that is opened, and read no further."""
        self.stream = self.last.options(stream=True).drip.remote()
        await anext(self.stream)
        await asyncio.Event().wait()

    async def broadcasting(self) -> None:
        self.results = self.last.broadcast("stay")
        await asyncio.Event().wait()

    async def obstinate(self) -> None:
        """End late; the nested call is cancelled before."""
        self.last.stay.remote()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.to_thread(gates.GATE.open.wait, WAIT_S)

    def threaded(self) -> None:
        try:
            self.last.stay.remote().result()
        except RequestCancelledError:
            gates.GATE.note("told")
            raise

    def threaded_stream(self) -> None:
        try:
            for _ in self.last.options(stream=True).drip.remote():
                pass
        except RequestCancelledError:
            gates.GATE.note("told")
            raise

    def threaded_generator(self) -> Any:
        yield 1
        self.threaded()

    def later(self) -> None:
        """A sync handler that calls after its request was cancelled."""
        gates.GATE.pass_sync()
        gates.GATE.note(serve.get_request_context().cancelled)
        try:
            self.last.note.remote("called").result()
        except RequestCancelledError:
            gates.GATE.note("refused")

    async def cleaning(self) -> None:
        try:
            await self.last.stay.remote()
        finally:
            await self.last.note.remote("cleaned up")

    async def left(self, value: Any) -> str:
        """Fire and forget."""
        self.last.wait.remote(value)
        return "done"

    async def many(self, number: int) -> int:
        """Calls that have ended are held no longer."""
        from alacarte.context import current_call

        gates.GATE.open.set()
        call = current_call.get()
        assert call is not None
        for i in range(number):
            await self.last.note.remote(i)
            await self.last.note.options(timeout_s=60).remote(i)
            async for _ in self.last.options(stream=True).drip.remote():
                break
            await asyncio.to_thread(lambda: self.last.note.remote("thread").result())
        assert call.nested is not None
        return len(call.nested._calls)


async def _await(response: Any) -> Any:
    return await response


@pytest.fixture
def middle(local):
    return local.run(Middle.bind(Last.bind()))


@pytest.mark.parametrize(
    "method",
    [
        "awaited",
        "kept",
        "dropped",
        "timed",
        "chained",
        "shielded",
        "in_a_task",
        "streamed",
        "stream_held",
        "broadcasting",
        "obstinate",
    ],
)
def test_nested_calls_end_with_their_handler(middle, gate, method):
    """A nested call ends with its request, however it was made, awaited or not."""
    response = getattr(middle, method).remote()
    gate.entered()
    response.cancel()
    assert gate.next_note() == "cancelled"
    with pytest.raises(RequestCancelledError):
        response.result(timeout_s=WAIT_S)


@pytest.mark.parametrize("method", ["threaded", "threaded_stream"])
def test_a_thread_that_waits(middle, gate, method):
    """A sync handler that waits for another deployment wakes, and its call is cancelled."""
    response = getattr(middle, method).remote()
    gate.entered()
    response.cancel()
    assert {gate.next_note(), gate.next_note()} == {"told", "cancelled"}


def test_a_sync_generator_that_waits(middle, gate):
    """A thread that waits for a nested call wakes when the request is cancelled."""
    stream = middle.options(stream=True).threaded_generator.remote()
    assert next(stream) == 1
    gate.entered()
    stream.cancel()
    assert {gate.next_note(), gate.next_note()} == {"told", "cancelled"}


def test_a_thread_that_calls_too_late(middle, gate):
    """A thread's next nested call is refused; the thread could have checked before."""
    response = middle.later.remote()
    gate.entered()
    response.cancel()
    # The next call finds its cancellation done: both went the same way.
    assert middle.left.remote(None).result(timeout_s=WAIT_S) == "done"
    gate.open.set()
    notes = [gate.next_note() for _ in range(3)]
    assert sorted(notes, key=str) == sorted([True, "refused", "done None"], key=str)


def test_cleaning_up(middle, gate):
    """An async handler may make calls while it ends."""
    response = middle.cleaning.remote()
    gate.entered()
    response.cancel()
    assert {gate.next_note(), gate.next_note()} == {"cancelled", "cleaned up"}


def test_fire_and_forget(middle, gate):
    """Calls that a handler has not awaited go on after its normal end."""
    assert middle.left.remote("gift").result(timeout_s=WAIT_S) == "done"
    gate.entered()
    gate.open.set()
    assert gate.next_note() == "done gift"


def test_a_deadline_reaches_all(middle, gate):
    """At the deadline, nested calls that are not awaited end as well."""
    with pytest.raises(DeadlineExceededError, match=r"no reply within 1 s"):
        middle.options(timeout_s=1).dropped.remote().result()
    assert gate.next_note() == "cancelled"


def test_nothing_is_held_of_calls_that_ended(middle):
    """A request of many calls keeps none of them."""
    assert middle.many.remote(20).result(timeout_s=WAIT_S) == 0


# --- many at a time ---------------------------------------------------------------------


@serve.deployment(max_ongoing_requests=1000, max_queued_requests=-1)
class Hop:
    def __init__(self, name: str, following: Any = None) -> None:
        self.name = name
        self.following = following

    async def __call__(self) -> None:
        _count(self.name, 1)
        try:
            if self.following is None:
                await asyncio.Event().wait()
            else:
                await self.following.remote()
        finally:
            _count(self.name, -1)

    async def short(self) -> str:
        return "free"


def test_a_thousand_callers_vanish(local):
    """Of 1,000 calls through three deployments nothing runs on, and every slot is free again."""
    RUNNING.clear()
    third = Hop.options(name="third").bind("third")
    second = Hop.options(name="second").bind("second", third)
    first = local.run(Hop.options(name="first").bind("first", second))
    responses = [first.remote() for _ in range(1000)]
    wait_until(lambda: RUNNING.get("third") == 1000, 60, "1,000 handlers at the third hop")
    for response in responses:
        response.cancel()
    wait_until(lambda: not any(RUNNING.values()), 20, "no handler anywhere")
    for name in ("first", "second", "third"):
        hop = serve.get_deployment_handle(name, "default")
        free = [hop.short.remote() for _ in range(1000)]
        assert all(response.result(timeout_s=WAIT_S) == "free" for response in free)


# --- threads ----------------------------------------------------------------------------


@serve.deployment(max_ongoing_requests=1)
class Threaded:
    """A method that nothing can interrupt."""

    def work(self) -> None:
        gates.GATE.note("began")
        gates.GATE.pass_sync()

    def items(self) -> Any:
        yield 1
        gates.GATE.pass_sync()
        yield 2

    def quick(self) -> str:
        gates.GATE.note("quick")
        return "quick"


@pytest.mark.parametrize("stream", [False, True])
def test_an_abandoned_thread(local, gate, stream):
    """A busy thread keeps its slot; other calls wait at their callers, or go elsewhere."""
    threaded = local.run(Threaded.bind())
    if stream:
        response = threaded.options(stream=True).items.remote()
        assert next(response) == 1
        gate.note("began")
    else:
        response = threaded.work.remote()
    gate.entered()
    assert gate.next_note() == "began"
    response.cancel()
    quick = threaded.quick.remote()
    late = threaded.options(timeout_s=0.2).quick.remote()
    with pytest.raises(DeadlineExceededError):
        late.result()
    assert gate.notes() == []
    gate.open.set()
    assert quick.result(timeout_s=WAIT_S) == "quick"
    assert gate.next_note() == "quick"
    # What had expired in the queue never began.
    assert threaded.quick.remote().result(timeout_s=WAIT_S) == "quick"
    assert (gate.next_note(), gate.notes()) == ("quick", [])
