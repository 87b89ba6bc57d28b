"""Batched async generators: each caller iterates its own values."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any

import pytest

from alacarte_batching import BatchSizeError, batch
from alacarte_batching._queue import Item

from .conftest import timers

Run = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


async def read(stream: AsyncGenerator[Any, None]) -> list[Any]:
    return [value async for value in stream]


def test_each_caller_gets_its_own_values(run: Run) -> None:
    """Each yielded list has the next value of every caller."""

    @batch(max_batch_size=2)
    async def count(items: list[int]) -> AsyncGenerator[list[int], None]:
        for n in range(3):
            yield [item + n for item in items]

    async def main() -> None:
        assert await asyncio.gather(read(count(0)), read(count(10))) == [[0, 1, 2], [10, 11, 12]]

    run(main)


def test_values_arrive_as_they_are_yielded(run: Run) -> None:
    """A caller has the first value before the generator makes the second."""
    go_on = asyncio.Event()

    @batch(max_batch_size=1)
    async def f(items: list[int]) -> AsyncGenerator[list[int], None]:
        yield [1]
        await go_on.wait()
        yield [2]

    async def main() -> None:
        stream = f(0)
        assert await anext(stream) == 1
        go_on.set()
        assert await read(stream) == [2]

    run(main)


@pytest.mark.parametrize(
    "end", [StopIteration, StopAsyncIteration, StopIteration(), StopAsyncIteration()]
)
def test_sentinel_ends_one_callers_stream(run: Run, end: Any) -> None:
    """`StopIteration` in place of a value ends one stream; the others continue."""

    @batch(max_batch_size=2)
    async def f(items: list[int]) -> AsyncGenerator[list[Any], None]:
        for n in range(4):
            yield [n if n < item else end for item in items]

    async def main() -> None:
        assert await asyncio.gather(read(f(1)), read(f(3))) == [[0], [0, 1, 2]]

    run(main)


def test_exception_comes_after_the_values(run: Run) -> None:
    """Values yielded before an exception are delivered, then the exception."""

    @batch(max_batch_size=2)
    async def f(items: list[int]) -> AsyncGenerator[list[int], None]:
        yield items
        raise ValueError("broke")

    async def main() -> None:
        streams = [f(1), f(2)]
        assert await asyncio.gather(*map(anext, streams)) == [1, 2]
        errors = await asyncio.gather(*map(anext, streams), return_exceptions=True)
        assert [type(error) for error in errors] == [ValueError, ValueError]

    run(main)


def test_list_of_the_wrong_length_is_told_to_every_caller(run: Run) -> None:
    """A step with too many values ends all streams with the error; the next batch runs."""

    @batch(max_batch_size=2)
    async def f(items: list[int]) -> AsyncGenerator[list[int], None]:
        yield items
        if 1 in items:
            yield [*items, 0]

    async def main() -> None:
        results = await asyncio.gather(read(f(1)), read(f(2)), return_exceptions=True)
        assert [type(result) for result in results] == [BatchSizeError, BatchSizeError]
        assert await asyncio.gather(read(f(3)), read(f(4))) == [[3], [4]]

    run(main)


def test_error_that_is_not_read_is_not_reported(run: Run) -> None:
    """An error after a caller has left its stream is not logged by asyncio."""
    complaints: list[dict[str, Any]] = []

    @batch(max_batch_size=1)
    async def f(items: list[int]) -> AsyncGenerator[list[int], None]:
        yield items
        raise ValueError

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, it: complaints.append(it))
        stream = f(1)
        assert await anext(stream) == 1
        await asyncio.sleep(1)  # virtual; the error is there
        await stream.aclose()
        del stream
        gc.collect()

    run(main)
    assert complaints == []


def test_failed_generator_is_closed_before_its_callers_know(run: Run) -> None:
    """A generator that yields nonsense is closed at once, not when garbage is collected."""
    closed = []

    @batch(max_batch_size=1)
    async def f(items: list[int]) -> AsyncGenerator[list[int], None]:
        try:
            yield []
        finally:
            closed.append(items)

    async def main() -> None:
        with pytest.raises(BatchSizeError):
            await anext(f(1))
        assert closed == [[1]]

    run(main)


def test_reader_that_leaves_disturbs_no_one(run: Run) -> None:
    """A caller that closes its stream does not affect the other streams."""

    @batch(max_batch_size=2)
    async def f(items: list[int]) -> AsyncGenerator[list[int], None]:
        for n in range(5):
            yield [item + n for item in items]
            await asyncio.sleep(1)

    async def first_only() -> Any:
        async with aclosing(f(100)) as stream:
            return await anext(stream)

    async def main() -> None:
        assert await asyncio.gather(first_only(), read(f(0))) == [100, [0, 1, 2, 3, 4]]

    run(main)


def test_generator_nobody_reads_is_closed(run: Run) -> None:
    """A generator without callers is closed at its next yield."""
    closed = asyncio.Event()

    @batch(max_batch_size=2)
    async def endless(items: list[int]) -> AsyncGenerator[list[int], None]:
        try:
            while True:
                yield items
                await asyncio.sleep(1)
        finally:
            closed.set()

    async def main() -> None:
        async def leave() -> None:
            async with aclosing(endless(1)) as stream:
                await anext(stream)

        cancelled = asyncio.create_task(read(endless(2)))
        await leave()
        assert not closed.is_set()
        cancelled.cancel()
        await closed.wait()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    run(main)


def test_slow_reader_holds_up_no_one(run: Run) -> None:
    """Values wait for a slow reader, a great many too, while the other reads to the end."""
    steps = 50_000

    @batch(max_batch_size=2)
    async def f(items: list[int]) -> AsyncGenerator[list[int], None]:
        for n in range(steps):
            yield [n] * len(items)

    async def main() -> None:
        slow = f(1)
        first = asyncio.create_task(anext(slow))
        assert len(await read(f(2))) == steps
        assert await first == 0
        assert await anext(slow) == 1
        await slow.aclose()  # with the rest unread

    run(main)


def test_a_call_takes_its_place_at_once(run: Run) -> None:
    """Streams that are read one after the other share the batch of their calls."""
    batches = []

    @batch(max_batch_size=2, batch_wait_timeout_s=1000)
    async def f(items: list[int]) -> AsyncGenerator[list[int], None]:
        batches.append(items)
        yield items

    async def main() -> None:
        began = asyncio.get_running_loop().time()
        streams = [f(1), f(2)]
        assert [await read(stream) for stream in streams] == [[1], [2]]
        assert asyncio.get_running_loop().time() - began < 1

    run(main)
    assert batches == [[1, 2]]


@pytest.mark.parametrize("closed", [False, True])
def test_stream_that_is_never_read_leaves_its_place(run: Run, closed: bool) -> None:
    """A dropped unread stream removes its item from the batch."""
    batches = []

    @batch(max_batch_size=2, batch_wait_timeout_s=5)
    async def f(items: list[int]) -> AsyncGenerator[list[int], None]:
        batches.append(items)
        yield items

    async def main() -> None:
        stream = f(1)
        if closed:
            await stream.aclose()
        del stream
        await asyncio.sleep(0)
        assert timers() == []
        assert await read(f(2)) == [2]
        await asyncio.sleep(1)
        gc.collect()
        assert not [item for item in gc.get_objects() if isinstance(item, Item)]

    run(main)
    assert batches == [[2]]


@pytest.mark.parametrize("fails", [False, True])
def test_stream_dropped_after_its_batch_ran(run: Run, fails: bool) -> None:
    """Values and errors of a dropped stream are discarded silently."""
    complaints: list[dict[str, Any]] = []

    @batch(max_batch_size=1)
    async def f(items: list[int]) -> AsyncGenerator[list[int], None]:
        yield items
        if fails:
            raise ValueError

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, it: complaints.append(it))
        stream = f(1)
        await asyncio.sleep(1)
        del stream
        await asyncio.sleep(1)
        gc.collect()

    run(main)
    assert complaints == []


def test_stream_dropped_after_its_loop_has_ended() -> None:
    """A stream that is dropped after its loop's end raises no error."""

    @batch(max_batch_size=1)
    async def f(items: list[int]) -> AsyncGenerator[list[int], None]:
        yield items

    async def main() -> Any:
        return f(1)

    stream = asyncio.run(main())
    gone = weakref.ref(stream)
    del stream
    gc.collect()
    assert gone() is None
