"""Task sets, closing of iterators and waiters of `alacarte.aio`."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator

from alacarte.aio import TaskSet, close_iterator, mark_retrieved, wake
from alacarte.testing import FakeClock


async def test_a_task_set_keeps_tasks_until_they_have_ended():
    """A task without other references runs to its end, and then leaves the set."""
    tasks = TaskSet()
    door = asyncio.Event()

    async def work() -> None:
        await door.wait()

    watched = weakref.ref(tasks.start(work()))
    gc.collect()
    assert len(tasks) == 1
    assert watched() is not None
    door.set()
    await asyncio.gather(*tasks)
    assert len(tasks) == 0


def test_a_task_set_cancels_all():
    """`cancel` ends every task, even while the set is iterated."""

    async def main() -> None:
        tasks = TaskSet()
        started = [tasks.start(asyncio.sleep(3600)) for _ in range(3)]
        tasks.cancel()
        await asyncio.wait(started)
        assert all(task.cancelled() for task in started)
        await asyncio.sleep(0)
        assert len(tasks) == 0

    FakeClock().run(main())


async def test_an_iterator_is_closed_where_it_can_be():
    """A generator's `finally` runs; iterators without `aclose` and None are ignored."""
    closed = []

    async def items() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            closed.append(True)

    source = items()
    assert await anext(source) == 1
    await close_iterator(source)
    assert closed == [True]
    await close_iterator(None)
    await close_iterator(object())


async def test_a_waiter_is_woken_once():
    """A second `wake`, or a `wake` of None, changes nothing."""
    waiter = asyncio.get_running_loop().create_future()
    wake(waiter)
    wake(waiter)
    wake(None)
    assert waiter.done()
    assert waiter.result() is None


async def test_a_retrieved_error_is_not_logged():
    """asyncio logs no error for work whose exception was retrieved."""
    complaints: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context["message"]))

    async def fails() -> None:
        raise OSError("gone")

    for marked in (True, False):
        task = loop.create_task(fails())
        if marked:
            task.add_done_callback(mark_retrieved)
        await asyncio.wait([task])
        del task
        gc.collect()
        assert len(complaints) == (0 if marked else 1)
