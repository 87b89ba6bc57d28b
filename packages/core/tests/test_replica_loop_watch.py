"""The watch over a replica's event loop: what it says, when, and of whom."""

from __future__ import annotations

import asyncio
import logging
import math
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from alacarte._cluster.host import LoopThread
from alacarte._replica.loop_watch import LoopWatch, blocking_frame
from alacarte.testing import wait_until

LIMIT_S = 0.1


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    """An event loop in a thread."""
    thread = LoopThread("watched")
    yield thread
    thread.stop()


@pytest.fixture
def told(caplog) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, "alacarte.replica")
    return caplog


def watched(loop: LoopThread, limit_s: float = LIMIT_S) -> LoopWatch:
    async def begin() -> LoopWatch:
        watch = LoopWatch("shop#model r1", limit_s)
        watch.start()
        return watch

    return loop.submit(begin()).result()


async def handler(event: threading.Event) -> None:
    """A user's method that forgets whose thread it is in."""
    event.wait(20)


def test_the_line_that_blocks_is_named_once(loop, told):
    """One warning for each blockage, with function, file and line; one more when it is over."""
    watch = watched(loop)
    event = threading.Event()
    blocking = loop.submit(handler(event))
    wait_until(lambda: told.messages, what="a warning")
    [warning] = told.messages
    assert "shop#model r1: the event loop has been blocked for 0." in warning
    line = handler.__code__.co_firstlineno + 2
    assert f"by handler() ({__file__}, line {line})" in warning
    assert "asyncio.to_thread()" in warning
    assert watch.age_s > LIMIT_S
    # Looked at several times more, and not told again.
    looks = time.monotonic() + 2 * LIMIT_S
    wait_until(lambda: time.monotonic() > looks)
    assert len(told.messages) == 1
    event.set()
    blocking.result(20)
    wait_until(lambda: len(told.messages) == 2)
    assert "the event loop is free again; it was blocked for 0." in told.messages[1]
    again = threading.Event()
    blocking = loop.submit(handler(again))
    wait_until(lambda: len(told.messages) == 3)
    assert "has been blocked" in told.messages[2]
    again.set()
    blocking.result(20)
    loop.loop.call_soon_threadsafe(watch.stop)


def test_a_loop_that_waits_is_not_blocked(loop, told):
    """Handlers that await block nobody."""
    watch = watched(loop, 2.0)
    loop.submit(asyncio.sleep(0.5)).result(20)
    wait_until(lambda: watch.age_s < 2.0)
    loop.loop.call_soon_threadsafe(watch.stop)
    assert told.messages == []


@pytest.mark.parametrize("limit_s", [LIMIT_S, math.inf])
def test_it_ends(loop, limit_s):
    """Its thread ends with it, and with a limit of infinity there is none."""
    watch = watched(loop, limit_s)
    names = [thread.name for thread in threading.enumerate()]
    assert ("shop#model r1-loop-watch" in names) is math.isfinite(limit_s)
    loop.loop.call_soon_threadsafe(watch.stop)
    wait_until(lambda: "loop-watch" not in str(threading.enumerate()))


def test_the_users_frame_behind_a_library():
    """What is blamed is the user's line that calls a library, not the library's."""
    found = []

    def user_code() -> None:
        def deep(frame_of: int) -> None:
            found.append(sys._current_frames()[frame_of])

        ident = threading.get_ident()
        thread = threading.Thread(target=deep, args=(ident,))
        thread.start()
        thread.join()

    user_code()
    # The innermost frame is `threading`'s, which waits for the other thread.
    assert found[0].f_code.co_filename == threading.__file__
    assert blocking_frame(found[0]).f_code.co_name == "user_code"
