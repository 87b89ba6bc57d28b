"""The watch over a replica's event loop: its warnings, their time and their frame."""

from __future__ import annotations

import asyncio
import logging
import math
import sys
import threading
import time
import types
from collections.abc import Iterator

import pytest

from alacarte._cluster.loop_thread import LoopThread
from alacarte._replica import loop_watch
from alacarte._replica.loop_watch import LoopWatch, accountable_s, blocking_frame, starved_s
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
    """A user's method that blocks the event loop."""
    event.wait(20)


def test_the_line_that_blocks_is_named_once(loop, told):
    """Each blockage is warned of once, with function, file and line, and again at its end."""
    watch = watched(loop)
    event = threading.Event()
    blocking = loop.submit(handler(event))
    wait_until(lambda: told.messages, description="a warning")
    [warning] = told.messages
    assert "shop#model r1: the event loop has been blocked for 0." in warning
    line = handler.__code__.co_firstlineno + 2
    assert f"by handler() ({__file__}, line {line})" in warning
    assert "asyncio.to_thread()" in warning
    assert watch.since_beat_s > LIMIT_S
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
    """Handlers that await do not block the loop."""
    watch = watched(loop, 2.0)
    loop.submit(asyncio.sleep(0.5)).result(20)
    wait_until(lambda: watch.since_beat_s < 2.0)
    loop.loop.call_soon_threadsafe(watch.stop)
    assert told.messages == []


@pytest.mark.parametrize("limit_s", [LIMIT_S, math.inf])
def test_the_watch_ends(loop, limit_s):
    """The thread ends with the watch, and an infinite limit needs no thread."""
    watch = watched(loop, limit_s)
    mine = "shop#model r1-loop-watch"
    assert (mine in str(threading.enumerate())) is math.isfinite(limit_s)
    loop.loop.call_soon_threadsafe(watch.stop)
    wait_until(lambda: mine not in str(threading.enumerate()))


def test_the_users_frame_behind_a_library():
    """The warning names the user's line that calls a library, not the library's line."""
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
    blamed = blocking_frame(found[0])
    assert blamed is not None
    assert blamed.f_code.co_name == "user_code"


@pytest.mark.parametrize(
    ("blocked_s", "starved_s", "late_s", "accountable"),
    [(3.0, 0.0, 0.0, 3.0), (3.0, 2.5, 0.0, 0.5), (3.0, 0.0, 2.5, 0.5), (3.0, 2.0, 2.5, 0.5)],
)
def test_time_without_a_cpu_does_not_count(blocked_s, starved_s, late_s, accountable):
    """Time in which either thread waited for a CPU does not count."""
    assert accountable_s(blocked_s, starved_s, late_s) == accountable


def test_a_starved_machine_is_not_blamed_on_the_user(loop, told, monkeypatch):
    """A loop that stands still for lack of a CPU causes no warning."""
    begun = time.monotonic()
    # As if the thread had waited for a CPU ever since.
    monkeypatch.setattr(loop_watch, "starved_s", lambda _: time.monotonic() - begun)
    watch = watched(loop)
    event = threading.Event()
    waiting = loop.submit(handler(event))
    wait_until(lambda: watch.since_beat_s > 5 * LIMIT_S)
    assert told.messages == []
    # From now on it has one, and its code answers for the time.
    monkeypatch.setattr(loop_watch, "starved_s", lambda _: 0.0)
    wait_until(lambda: told.messages, description="a warning")
    assert "by handler()" in told.messages[0]
    event.set()
    waiting.result(20)
    loop.loop.call_soon_threadsafe(watch.stop)


def test_internal_frames_are_never_named(loop, told):
    """Where only alacarte and the event loop are at work, the user's methods are not at fault."""
    watch = watched(loop)
    event = threading.Event()
    # The same code, as if it stood in a module of ours.
    ours = types.FunctionType(handler.__code__, {"__name__": "alacarte._wire.connection"})
    waiting = loop.submit(ours(event))
    wait_until(lambda: watch.since_beat_s > 5 * LIMIT_S)
    assert told.messages == []
    event.set()
    waiting.result(20)
    loop.loop.call_soon_threadsafe(watch.stop)


def test_the_kernel_says_how_long_a_thread_was_starved():
    """On Linux a thread's wait for a CPU only grows; it is 0 for an unknown thread."""
    before = starved_s(threading.get_native_id())
    assert 0.0 <= before <= starved_s(threading.get_native_id())
    assert starved_s(2**31 - 1) == 0.0
