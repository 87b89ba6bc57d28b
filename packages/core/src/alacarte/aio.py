"""Helpers for code on an event loop: task sets, closing of iterators, waiters."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

__all__ = ["TaskSet", "close_iterator", "mark_retrieved", "wake"]

T = TypeVar("T")


class TaskSet:
    """Strong references to running tasks, since an event loop references its tasks weakly."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[asyncio.Task[object]]:
        return iter(list(self._tasks))

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run a coroutine as a task of the running loop, and return the task."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def cancel(self) -> None:
        """Cancel every task that has not ended."""
        for task in self:
            task.cancel()


async def close_iterator(source: object) -> None:
    """Close an asynchronous iterator that has the method `aclose`.

    Args:
        source: An asynchronous iterator with or without `aclose`, or None.
    """
    close = getattr(source, "aclose", None)
    if close is not None:
        await close()


def wake(waiter: asyncio.Future[None] | None) -> None:
    """Set the result of a waiter's future, unless it is None or done."""
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


def mark_retrieved(work: asyncio.Future[Any]) -> None:
    """Retrieve the exception of ended work, so that asyncio does not log the exception.

    A done callback for work whose failure another place reports, or that no caller awaits.
    """
    if not work.cancelled():
        work.exception()
