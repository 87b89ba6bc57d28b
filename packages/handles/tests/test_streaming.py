"""Streams: items one by one, leaving early, and misuse."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from alacarte import serve
from alacarte.errors import ConfigError, RequestCancelledError, ServeError
from alacarte_handles import DeploymentResponseGenerator

from . import gates
from .gates import WAIT_S


class OwnError(Exception):
    """A user's exception."""


@serve.deployment(max_ongoing_requests=2)
class Source:
    def __init__(self, inner: Any = None) -> None:
        self.inner = inner
        self.produced = 0

    def count(self, number: int) -> Iterator[int]:
        yield from range(number)

    async def count_async(self, number: int) -> AsyncIterator[int]:
        for i in range(number):
            yield i

    async def gated(self) -> AsyncIterator[str]:
        yield "before"
        await gates.GATE.pass_async()
        yield "after"

    def gated_sync(self) -> Iterator[str]:
        yield "before"
        gates.GATE.pass_sync()
        yield "after"

    async def endless(self, size: int = 1) -> AsyncIterator[bytes]:
        gates.GATE.inside.release()
        try:
            while True:
                self.produced += 1
                yield bytes(size)
        finally:
            gates.GATE.note("closed")

    def endless_sync(self, size: int = 1) -> Iterator[bytes]:
        gates.GATE.inside.release()
        try:
            while True:
                self.produced += 1
                yield bytes(size)
        finally:
            gates.GATE.note("closed")

    async def stuck(self) -> AsyncIterator[int]:
        gates.GATE.inside.release()
        try:
            yield 0
            await asyncio.Event().wait()
        finally:
            gates.GATE.note("closed")

    async def silent(self) -> AsyncIterator[int]:
        gates.GATE.inside.release()
        try:
            await asyncio.Event().wait()
            yield 0
        finally:
            gates.GATE.note("closed")

    def failing(self) -> Iterator[int]:
        yield 0
        yield 1
        raise OwnError("midway")

    async def failing_async(self) -> AsyncIterator[int]:
        yield 0
        yield 1
        raise OwnError("midway")

    def unsendable(self) -> Iterator[Any]:
        yield 0
        yield threading.Lock()

    def plain(self) -> int:
        return 1

    def how_many(self) -> int:
        return self.produced

    async def inside(self, method: str, number: int) -> list[Any]:
        stream = getattr(self.inner, method).options(stream=True).remote(number)
        return [item async for item in stream]

    def inside_sync(self, method: str, number: int) -> list[Any]:
        return list(getattr(self.inner, method).options(stream=True).remote(number))

    async def pass_on(self, method: str) -> AsyncIterator[Any]:
        async for item in getattr(self.inner, method).options(stream=True).remote():
            yield item

    async def leave_inside(self) -> bytes:
        stream = self.inner.endless.options(stream=True).remote()
        item = await anext(stream)
        await stream.aclose()
        return item

    async def leave_again(self) -> list[Any]:
        """Open streams one after another by one handle, and leave each before its first item."""
        silent = self.inner.silent.options(stream=True)
        found: list[Any] = []
        for _ in range(3):
            stream = silent.remote()
            waiting = asyncio.ensure_future(anext(stream, "left"))
            await asyncio.to_thread(gates.GATE.entered)
            await stream.aclose()
            found += [await waiting, await asyncio.to_thread(gates.GATE.next_note)]
        task = asyncio.current_task()
        return [*found, task is not None and task.cancelling()]

    async def misuse(self) -> None:
        stream = self.inner.options(stream=True).count.remote(1)
        with pytest.raises(RuntimeError, match="async for"):
            next(stream)


@pytest.fixture
def source(local):
    return local.run(Source.bind()).options(stream=True)


@pytest.fixture
def outer(local):
    return local.run(Source.bind(Source.options(name="Inner").bind()))


GENERATORS = pytest.mark.parametrize("method", ["count", "count_async"])
ENDLESS = pytest.mark.parametrize("method", ["endless", "endless_sync"])


def free_again(source: Any) -> bool:
    """Whether a call gets through, as many times as the replica has slots and once more."""
    plain = source.options(stream=False)
    responses = [plain.plain.remote() for _ in range(3)]
    return [response.result(timeout_s=WAIT_S) for response in responses] == [1, 1, 1]


# --- reading ----------------------------------------------------------------------------


@GENERATORS
@pytest.mark.parametrize("number", [0, 1, 3000])
def test_reading_without_a_loop(source, method, number):
    """`for` gives every item in order, of sync and async generators."""
    stream = getattr(source, method).remote(number)
    assert isinstance(stream, DeploymentResponseGenerator)
    assert list(stream) == list(range(number))
    assert list(stream) == []


@GENERATORS
async def test_reading_on_another_loop(source, method):
    """`async for` gives every item in order."""
    stream = getattr(source, method).remote(3000)
    assert [item async for item in stream] == list(range(3000))


@GENERATORS
@pytest.mark.parametrize("way", ["inside", "inside_sync"])
def test_reading_inside_a_replica(outer, method, way):
    """Async handlers read with `async for`, sync ones with `for`."""
    assert getattr(outer, way).remote(method, 1000).result(timeout_s=WAIT_S) == list(range(1000))


@pytest.mark.parametrize("method", ["gated", "gated_sync"])
def test_items_come_as_they_are_produced(source, gate, method):
    """The first is here while the generator has not got to the second."""
    stream = getattr(source, method).remote()
    assert next(stream) == "before"
    gate.entered()
    gate.open.set()
    assert list(stream) == ["after"]


def test_items_pass_through_two_deployments(outer, gate):
    """As they are produced, too."""
    stream = outer.options(stream=True).pass_on.remote("gated")
    assert next(stream) == "before"
    gate.entered()
    gate.open.set()
    assert list(stream) == ["after"]


async def test_two_streams_at_once(source):
    """Each gives its own items, read in turns."""
    one, two = source.count.remote(5), source.count_async.remote(5)
    pairs = [(await anext(one), await anext(two)) for _ in range(5)]
    assert pairs == [(i, i) for i in range(5)]


@ENDLESS
def test_a_slow_reader_holds_the_generator_back(source, gate, method):
    """The items ahead of the reader are bounded, however busy the loop is."""
    stream = getattr(source, method).remote(1 << 20)
    next(stream)
    counts = [source.options(stream=False).how_many.remote().result() for _ in range(200)]
    # Items in the window of the wire, and those a sync generator may have ready in its thread.
    assert counts[-1] <= (16 if method == "endless" else 16 + 128)
    stream.cancel()
    assert gate.next_note() == "closed"


# --- errors -----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["failing", "failing_async"])
def test_an_exception_midway(source, method):
    """The items before an exception arrive, then the user's own exception."""
    stream = getattr(source, method).remote()
    assert [next(stream), next(stream)] == [0, 1]
    with pytest.raises(OwnError, match="midway") as caught:
        next(stream)
    assert "raise OwnError" in str(caught.value.__cause__)
    assert free_again(source)


async def test_an_exception_midway_on_another_loop(source):
    """An exception midway is the same as where no loop runs."""
    stream = source.failing_async.remote()
    assert [await anext(stream), await anext(stream)] == [0, 1]
    with pytest.raises(OwnError, match="midway"):
        await anext(stream)


def test_an_item_that_cannot_travel(source):
    """The items before the value arrive, then an error that names the method."""
    stream = source.unsendable.remote()
    assert next(stream) == 0
    with pytest.raises(
        ConfigError, match=r"default#Source.unsendable returned a value that cannot be sent"
    ):
        next(stream)


def test_a_stream_of_a_plain_method(source):
    """The TypeError says to remove `stream=True`."""
    with pytest.raises(
        TypeError, match="is not a generator, and returned .*: call the method without stream=True"
    ):
        next(source.plain.remote())


@GENERATORS
def test_a_generator_without_stream(source, method):
    """The TypeError says to add `stream=True`."""
    response = getattr(source.options(stream=False), method).remote(1)
    with pytest.raises(TypeError, match=r"is a generator: .*stream=True"):
        response.result()


async def test_a_stream_has_no_single_result(source):
    """`await` and `result()` are TypeErrors; the items can still be read."""
    stream = source.count.remote(2)
    with pytest.raises(TypeError, match="async for"):
        await stream
    with pytest.raises(TypeError, match="iterate"):
        stream.result()
    assert [item async for item in stream] == [0, 1]


async def test_reading_without_await_in_a_loop(source):
    """`for` would stop the loop: RuntimeError, and `async for` still works."""
    stream = source.count.remote(2)
    with pytest.raises(RuntimeError, match="async for"):
        next(stream)
    assert [item async for item in stream] == [0, 1]


def test_reading_without_await_in_a_replica(outer):
    """The same on a replica's loop."""
    outer.misuse.remote().result(timeout_s=WAIT_S)


def test_a_stream_is_no_argument(source):
    """Neither by itself nor inside of something."""
    stream = source.count.remote(2)
    with pytest.raises(ConfigError, match="a streaming response cannot be an argument"):
        source.count.remote(stream)
    with pytest.raises(ServeError):
        source.count.remote([stream])
    assert list(stream) == [0, 1]


# --- leaving early ----------------------------------------------------------------------


@ENDLESS
def test_dropping_a_stream(source, gate, method):
    """Leaving the loop and forgetting the stream closes the generator and frees its slot."""
    for item in getattr(source, method).remote():
        assert item == b"\0"
        break
    gc.collect()
    assert gate.next_note() == "closed"
    assert free_again(source)


@ENDLESS
async def test_closing_a_stream(source, gate, method):
    """`aclose()` closes the generator; afterwards there are no more items."""
    stream = getattr(source, method).remote()
    await anext(stream)
    await stream.aclose()
    assert await asyncio.to_thread(gate.next_note) == "closed"
    assert [item async for item in stream] == []
    assert await asyncio.to_thread(free_again, source)


def test_closing_inside_a_replica(outer, gate):
    """A handler that stops reading closes the nested stream."""
    assert outer.leave_inside.remote().result(timeout_s=WAIT_S) == b"\0"
    assert gate.next_note() == "closed"


@pytest.mark.parametrize("method", ["stuck", "endless", "endless_sync"])
def test_cancelling_a_stream(source, gate, method):
    """The generator is closed, and reading on raises."""
    stream = getattr(source, method).remote()
    next(stream)
    stream.cancel()
    assert stream.cancelled()
    assert gate.next_note() == "closed"
    with pytest.raises(RequestCancelledError):
        next(stream)
    assert free_again(source)


async def test_cancelling_a_stream_on_another_loop(source, gate):
    """A task that waits for an item gets the error, and is not cancelled itself."""
    stream = source.stuck.remote()
    await anext(stream)
    waiting = asyncio.create_task(_next(stream))
    await asyncio.to_thread(gate.entered)
    stream.cancel()
    with pytest.raises(RequestCancelledError):
        await waiting
    assert await asyncio.to_thread(gate.next_note) == "closed"


@pytest.mark.parametrize("method", ["stuck", "silent"])
def test_leaving_before_the_first_item(source, gate, method):
    """A stream that was never read is closed when it is cancelled or dropped."""
    stream = getattr(source, method).remote()
    gate.entered()
    stream.cancel()
    assert gate.next_note() == "closed"
    stream = getattr(source, method).remote()
    gate.entered()
    del stream
    gc.collect()
    assert gate.next_note() == "closed"
    assert free_again(source)


async def test_a_reader_that_is_cancelled(source, gate):
    """When the task that reads is cancelled and the stream forgotten, the generator is closed."""

    async def read() -> None:
        async for _ in source.stuck.remote():
            reading.set()

    reading = asyncio.Event()
    task = asyncio.create_task(read())
    await reading.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    del task
    gc.collect()
    assert await asyncio.to_thread(gate.next_note) == "closed"


def test_cancelling_reaches_nested_streams(outer, gate):
    """The source of a closed generator is closed, too."""
    stream = outer.options(stream=True).pass_on.remote("endless")
    next(stream)
    stream.cancel()
    assert gate.next_note() == "closed"


async def _next(stream: Any) -> Any:
    return await anext(stream)


def test_leaving_again(outer):
    """Streams have tasks of their own: closing one does not cancel the task that opened it."""
    found = outer.leave_again.remote().result(timeout_s=WAIT_S)
    assert found == ["left", "closed"] * 3 + [0]
