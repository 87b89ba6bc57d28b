"""Blocking calls in daemon threads, each with a time limit.

The pools of `concurrent.futures` do not do: Python waits for their threads at exit, and a thread
that waits for a lost cluster never ends.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

__all__ = ["BlockingCalls", "run_in_daemon_thread"]

T = TypeVar("T")


def run_in_daemon_thread(call: Callable[[], T], name: str) -> Future[T]:
    """Run a call in a new daemon thread and return its future.

    The program does not wait for the thread at exit, so the call may never return.
    """
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            result = call()
        except BaseException as error:  # the caller's to handle
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


class BlockingCalls:
    """A pool of daemon threads, started on demand, for calls that may never return.

    Args:
        name: Prefix of the threads' names.
        max_threads: Further calls wait for a free thread, within their own time limit.
    """

    def __init__(self, name: str, max_threads: int) -> None:
        self._name = name
        self._max_threads = max_threads
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._started = 0
        self._free = 0

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Run a call in a thread and return its future. Thread-safe."""
        future: Future[T] = Future()
        with self._lock:
            if self._free:
                self._free -= 1
            elif self._started < self._max_threads:
                self._started += 1
                thread = threading.Thread(
                    target=self._work, name=f"{self._name}-{self._started}", daemon=True
                )
                thread.start()
            self._calls.put((future, call))
        return future

    async def run(
        self, call: Callable[[], T], limit_s: float, undo: Callable[[T], object] | None = None
    ) -> T:
        """Run a call in a thread and return its result.

        Args:
            limit_s: How long to wait for the call.
            undo: Takes a result that comes after the caller has stopped waiting.

        Raises:
            TimeoutError: The call has not returned in time; it may still do so.
        """
        future = self.submit(call)
        try:
            async with asyncio.timeout(limit_s):
                return await asyncio.wrap_future(future)
        except (TimeoutError, asyncio.CancelledError):
            if not future.cancel() and undo is not None:
                future.add_done_callback(lambda late: _undo(late, undo))
            raise

    def _work(self) -> None:
        while True:
            future, call = self._calls.get()
            if future.set_running_or_notify_cancel():
                try:
                    result = call()
                except BaseException as error:  # the caller's to handle
                    future.set_exception(error)
                else:
                    future.set_result(result)
                    del result
            del future, call
            with self._lock:
                if self._calls.empty():
                    self._free += 1


def _undo(late: Future[T], undo: Callable[[T], object]) -> None:
    if late.exception() is None:
        undo(late.result())
