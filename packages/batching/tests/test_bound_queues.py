"""Lifetime of the queues of a batched function."""

from __future__ import annotations

import asyncio
import gc
import pickle
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from alacarte_batching import BatchSizeError, ItemTooLargeError, batch
from alacarte_batching._bound_queues import BoundQueues
from alacarte_batching._limits import Limits
from alacarte_batching._parameters import Parameters
from alacarte_batching._queue import BatchedFunction

Run = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


class Model:
    @batch(max_batch_size=2)
    async def echo(self, items: list[int]) -> list[int]:
        return items


async def method(self: Any, items: list[int]) -> list[int]:
    return items


def queues_of(function: Callable[..., Any]) -> BoundQueues:
    return BoundQueues(
        BatchedFunction(function, Parameters(function), Limits(1), None, streams=False)
    )


def test_queue_goes_with_its_instance(run: Run) -> None:
    """An instance is freed, and its queue with it."""
    queues = queues_of(method)

    async def main() -> None:
        owner = Model()
        item = queues.of((owner,)).add((owner, 1), {})
        assert await item.future == 1
        await asyncio.sleep(0)
        gone = weakref.ref(owner)
        assert len(queues) == 1
        del owner, item
        gc.collect()
        assert gone() is None
        assert len(queues) == 0

    run(main)


def test_queue_goes_with_its_loop() -> None:
    """Closed event loops leave no queue."""
    queues = queues_of(method)
    owner = Model()

    async def main() -> None:
        assert await queues.of((owner,)).add((owner, 1), {}).future == 1

    for _ in range(5):
        asyncio.run(main())
    gc.collect()
    assert len(queues) == 0


def test_queue_goes_with_its_loop_on_uvloop() -> None:
    """The same, and batching itself, on uvloop."""
    uvloop = pytest.importorskip("uvloop")
    queues = queues_of(method)
    owner = Model()

    async def main() -> None:
        assert await queues.of((owner,)).add((owner, 1), {}).future == 1
        assert await asyncio.gather(owner.echo(1), owner.echo(2), owner.echo(3)) == [1, 2, 3]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
    del runner
    gc.collect()
    assert len(queues) == 0


def test_loops_do_not_share_batches() -> None:
    """Calls from two event loops are in separate batches."""
    model = Model()
    one, two = asyncio.new_event_loop(), asyncio.new_event_loop()
    try:
        waiting = one.create_task(model.echo(1))
        one.run_until_complete(asyncio.sleep(0))
        # Would fill the batch that waits in the other loop, if they were mixed.
        assert two.run_until_complete(model.echo(2)) == 2
        assert not waiting.done()
        assert one.run_until_complete(waiting) == 1
    finally:
        one.close()
        two.close()


def test_decorated_code_can_be_sent_whole(run: Run) -> None:
    """A class from a script pickles by value, even after calls, and batches afterwards."""
    cloudpickle = pytest.importorskip("cloudpickle")

    @batch(max_batch_size=2)
    async def echo(items: list[int]) -> list[tuple[int, int]]:
        return [(item, len(items)) for item in items]

    class Scripted:
        @batch(max_batch_size=2)
        async def echo(self, items: list[int]) -> list[tuple[int, int]]:
            return [(item, len(items)) for item in items]

    async def main() -> None:
        for call, whole in ((echo, echo), (Scripted().echo, Scripted)):
            assert await asyncio.gather(call(1), call(2)) == [(1, 2), (2, 2)]
            waiting = asyncio.create_task(call(3))
            await asyncio.sleep(0)
            copied = pickle.loads(cloudpickle.dumps(whole))
            copy = copied().echo if whole is Scripted else copied
            copy.set_max_batch_size(3)
            results = await asyncio.gather(*(copy(n) for n in range(3)))
            assert results == [(0, 3), (1, 3), (2, 3)]
            assert await waiting == (3, 1)
            assert await asyncio.gather(call(4), call(5)) == [(4, 2), (5, 2)]

    run(main)


@pytest.mark.parametrize("error", [BatchSizeError("f", 3, 2), ItemTooLargeError("f", 11, 10)])
def test_errors_pickle(error: Exception) -> None:
    """Errors keep their attributes and message when pickled."""
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)
