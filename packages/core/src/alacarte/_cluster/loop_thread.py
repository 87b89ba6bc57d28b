"""An event loop in a thread of its own, and the submission of work to it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["LoopThread", "Work", "new_event_loop", "submit"]

log = logging.getLogger("alacarte.cluster")
T = TypeVar("T")
Work = Coroutine[Any, Any, T]
"""A coroutine that has not started yet."""


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return uvloop's event loop where it is installed, else asyncio's."""
    try:
        import uvloop  # absent on Windows and on some interpreters
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


class LoopThread:
    """An event loop that runs in a daemon thread."""

    def __init__(self, name: str) -> None:
        self.loop = new_event_loop()
        self._name = name
        self._lock = threading.Lock()
        self._stopping = False
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        while not self._ended:
            self._run_guarded(self.loop.run_forever)
            if self.loop.is_closed():  # by foreign code in another thread
                return
        # In this thread, since the caller of `stop` may run a loop of its own. A second time, for
        # work that was submitted while the loop stopped: callers wait for its futures.
        for cleanup in (_cancel_others(), self.loop.shutdown_asyncgens()):
            task = self.loop.create_task(cleanup)
            while not task.done():
                self._run_guarded(functools.partial(self.loop.run_until_complete, task))
        self.loop.close()

    def _run_guarded(self, run: Callable[[], object]) -> None:
        """Run the loop. Foreign code may stop it, by `loop.stop()` or from a task.

        A task that raises SystemExit or KeyboardInterrupt stops the loop. That exception ends its
        own task only: the caller runs the loop again, for all other tasks.
        """
        try:
            run()
        except BaseException as error:
            log.exception(
                "%s: a task raised %s, which ends this task only", self._name, type(error).__name__
            )

    def _end(self) -> None:
        self._ended = True
        self.loop.stop()

    def submit(self, work: Work[T]) -> concurrent.futures.Future[T]:
        """Run a coroutine on the loop and return its future. For calls from other threads.

        Raises:
            RuntimeError: The loop is stopping, or has stopped.
        """
        with self._lock:
            return submit(work, self.loop, refuse=self._stopping)

    def stop(self) -> None:
        """Cancel all tasks, stop the loop, and wait for the thread."""
        if self._stopping:
            self._thread.join()
            return
        self.submit(_cancel_others()).result()
        with self._lock:
            self._stopping = True
        self.loop.call_soon_threadsafe(self._end)
        self._thread.join()


def submit(
    work: Work[T], loop: asyncio.AbstractEventLoop, *, refuse: bool = False
) -> concurrent.futures.Future[T]:
    """Run a coroutine on a loop of another thread and return its future.

    Args:
        refuse: The loop accepts no more work, though it may still run.

    Raises:
        RuntimeError: The loop has stopped. The coroutine is closed, since no task will await it.
    """
    try:
        if refuse:
            raise RuntimeError("the event loop is stopping and takes no more work")
        return asyncio.run_coroutine_threadsafe(work, loop)
    except RuntimeError:
        work.close()
        raise


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
