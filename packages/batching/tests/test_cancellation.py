"""Cancellation of callers and batches, and errors without a caller."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from alacarte_batching import batch

from .gate import Gate, Run


def test_cancelled_function_cancels_its_callers(run: Run) -> None:
    """A function that ends cancelled cancels its callers; the next batch runs."""

    @batch(max_batch_size=1)
    async def f(items: list[int]) -> list[int]:
        if items == [1]:
            raise asyncio.CancelledError
        return items

    async def main() -> None:
        with pytest.raises(asyncio.CancelledError):
            await f(1)
        assert await f(2) == 2

    run(main)


def test_batch_task_cancelled_before_it_starts_frees_its_place(run: Run) -> None:
    """A batch task that is cancelled before its first step blocks neither callers nor batches."""
    batches = []

    @batch(max_batch_size=1, max_concurrent_batches=1)
    async def f(items: list[int]) -> list[int]:
        batches.append(items)
        return items

    async def main() -> None:
        caller = asyncio.create_task(f(1))
        before = {*asyncio.all_tasks()}
        await asyncio.sleep(0)
        (started,) = asyncio.all_tasks() - before
        started.cancel()
        await asyncio.wait([caller])
        assert caller.cancelled()
        assert await f(2) == 2

    run(main)
    assert batches == [[2]]


def test_caller_cancelled_while_waiting_is_left_out(run: Run) -> None:
    """A caller that is cancelled before the batch runs has no item in it."""

    async def main() -> None:
        gate = Gate(batch_wait_timeout_s=1.0)
        gate.open.set()
        first, second = (asyncio.create_task(gate.call(n)) for n in (1, 2))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == 20
        assert first.cancelled()
        assert gate.batches == [[2]]

    run(main)


def test_caller_cancelled_as_the_batch_starts_is_left_out(run: Run) -> None:
    """A caller that is cancelled between close and run has no item in the batch."""

    async def main() -> None:
        gate = Gate(max_batch_size=2)
        gate.open.set()
        first, second = (asyncio.create_task(gate.call(n)) for n in (1, 2))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == 20
        assert gate.batches == [[2]]

    run(main)


def test_cancelling_everyone_leaves_nothing(run: Run) -> None:
    """A batch whose callers are all cancelled does not run, and leaves no timer."""

    async def main() -> None:
        gate = Gate(batch_wait_timeout_s=1.0)
        callers = [asyncio.create_task(gate.call(n)) for n in (1, 2)]
        await asyncio.sleep(0)
        for caller in callers:
            caller.cancel()
        await asyncio.wait(callers)
        assert gate.batches == []

    run(main)


def test_caller_cancelled_while_it_runs_disturbs_no_one(run: Run) -> None:
    """A running batch continues for the other callers."""

    async def main() -> None:
        gate = Gate(max_batch_size=2)
        first, second = (asyncio.create_task(gate.call(n)) for n in (1, 2))
        await gate.entered.acquire()
        first.cancel()
        await asyncio.wait([first])
        gate.open.set()
        assert await second == 20
        assert gate.batches == [[1, 2]]

    run(main)


def test_error_with_no_caller_left_is_logged(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """An exception without a caller is logged."""
    entered = asyncio.Event()

    @batch(max_batch_size=1)
    async def f(items: list[int]) -> list[int]:
        entered.set()
        await asyncio.sleep(1)
        raise ValueError("late")

    async def main() -> None:
        caller = asyncio.create_task(f(1))
        await entered.wait()
        caller.cancel()
        await asyncio.sleep(2)

    run(main)
    assert "no caller waits" in caplog.text
    assert "late" in caplog.text


def test_error_that_meets_a_cancellation_is_not_reported_again(run: Run) -> None:
    """An error that arrives with a cancellation is not logged by asyncio."""
    complaints: list[dict[str, Any]] = []
    callers: list[asyncio.Task[int]] = []

    @batch(max_batch_size=1)
    async def f(items: list[int]) -> list[int]:
        task = asyncio.current_task()
        assert task is not None
        # Comes after the error was set, and before the caller takes its next step.
        task.add_done_callback(lambda _: callers[0].cancel())
        raise ValueError

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, it: complaints.append(it))
        callers.append(asyncio.create_task(f(1)))
        await asyncio.wait(callers)
        assert callers[0].cancelled()
        gc.collect()

    run(main)
    assert complaints == []
