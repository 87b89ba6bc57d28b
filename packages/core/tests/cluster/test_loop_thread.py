"""The event loop in a thread, which actors and drivers share."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import threading
from typing import Any

import pytest

from alacarte import _plugins
from alacarte._cluster.local import LocalCluster
from alacarte._cluster.loop_thread import LoopThread
from alacarte.errors import ServeError
from alacarte.serve._session import Session


async def answer() -> int:
    return 7


def test_work_for_a_stopped_loop_is_refused():
    """Submitting to a stopped loop raises, and leaves no coroutine that was never awaited."""
    thread = LoopThread("of-test")
    assert thread.submit(answer()).result(20) == 7
    thread.stop()
    thread.stop()
    with pytest.raises(RuntimeError, match="takes no more work"):
        thread.submit(answer())
    gc.collect()  # a warning is an error


def test_work_that_comes_while_the_loop_stops_is_cancelled():
    """A coroutine that is submitted while the loop stops is cancelled; its caller does not hang."""
    thread = LoopThread("of-test")
    late: list[concurrent.futures.Future[Any]] = []

    async def end_late() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            # From another thread, as callers are; it runs after all tasks have been cancelled.
            other = threading.Thread(target=lambda: late.append(thread.submit(for_ever())))
            other.start()
            other.join()

    async def for_ever() -> None:
        await asyncio.Event().wait()

    thread.submit(end_late())
    thread.submit(answer()).result(20)
    thread.stop()
    with pytest.raises(concurrent.futures.CancelledError):
        late[0].result(20)


def test_a_session_that_has_left_says_so():
    """A call after the session has left the instance raises an error that says so."""
    core = [record for record in _plugins.discover() if record.name == "core"]
    session = Session(LocalCluster(), _plugins.load(core))
    session.leave()
    with pytest.raises(ServeError, match="has left the instance"):
        session.status()
    gc.collect()
