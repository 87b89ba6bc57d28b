"""Blocking calls in threads: bounded, undone when they return too late, no obstacle to exit."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from alacarte._cluster.threads import BlockingCalls
from alacarte.testing import wait_until


async def test_results_and_errors():
    """The caller gets a call's result, or its exception."""
    calls = BlockingCalls("of-test", 2)
    assert await calls.run(lambda: 7, 20) == 7
    with pytest.raises(KeyError):
        await calls.run(lambda: {}["x"], 20)


async def test_threads_are_used_again():
    """Sequential calls share one thread; concurrent calls use no more threads than allowed."""
    calls = BlockingCalls("of-test", 2)
    name = threading.current_thread
    seen = {await calls.run(lambda: name().name, 20) for _ in range(20)}
    assert len(seen) <= 2
    both = threading.Barrier(2)
    await asyncio.gather(*(calls.run(lambda: both.wait(20), 20) for _ in range(4)))


async def test_a_call_over_its_limit():
    """A call over its limit raises TimeoutError; its late result is undone."""
    calls = BlockingCalls("of-test", 1)
    begun, go_on = threading.Event(), threading.Event()
    undone: list[str] = []

    def hang() -> str:
        begun.set()
        go_on.wait(20)
        return "late"

    while not begun.is_set():  # on a busy machine the limit may end before the thread begins
        with pytest.raises(TimeoutError):
            await calls.run(hang, 0.01, undone.append)
    queued: list[int] = []
    with pytest.raises(TimeoutError):  # the only thread is busy
        await calls.run(lambda: queued.append(1), 0.01)
    assert undone == []
    go_on.set()
    await asyncio.to_thread(wait_until, lambda: undone == ["late"])
    assert await calls.run(lambda: 7, 20) == 7
    assert queued == [], "what nobody waits for any more does not begin"


async def test_cancelled():
    """A cancelled caller returns at once, and the late result is undone."""
    calls = BlockingCalls("of-test", 1)
    begun, go_on = threading.Event(), threading.Event()
    undone: list[bool] = []

    def hang() -> bool:
        begun.set()
        return go_on.wait(20)

    task = asyncio.create_task(calls.run(hang, 20, undone.append))
    await asyncio.to_thread(begun.wait, 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    await asyncio.to_thread(wait_until, lambda: undone == [True])


def test_a_call_that_hangs_does_not_keep_the_program():
    """Python exits while a call has not returned."""
    program = (
        "import threading\n"
        "from alacarte._cluster.threads import BlockingCalls\n"
        "begun = threading.Event()\n"
        "def hang():\n"
        "    begun.set()\n"
        "    threading.Event().wait()\n"
        "BlockingCalls('of-test', 1).submit(hang)\n"
        "assert begun.wait(20)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
