"""Eager tasks: tasks whose first step runs before they are returned.

A handler that never suspends then completes without another iteration of the event loop and its two
callbacks. Python 3.12 has `eager_start`; on 3.11 the callback that schedules a task's first step is
intercepted and run at once.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

__all__ = ["EagerTasks"]

_HAS_EAGER_START = sys.version_info >= (3, 12)


class EagerTasks:
    """Starts tasks on one event loop. Used on the loop's thread.

    Args:
        loop: The loop of the tasks.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._scheduled: list[tuple[Callable[..., object], tuple[object, ...], Context | None]] = []

    def start(self, coroutine: Coroutine[Any, Any, None], context: Context) -> asyncio.Task[None]:
        """Return a task whose coroutine has run until it suspended or ended.

        Called from within another task, the first step is scheduled as usual.
        """
        loop = self._loop
        if asyncio.current_task(loop) is not None:
            return loop.create_task(coroutine, context=context)
        if _HAS_EAGER_START:
            return asyncio.Task(coroutine, loop=loop, context=context, eager_start=True)  # type: ignore[call-arg,unused-ignore]
        return self._start(coroutine, context)

    def _start(self, coroutine: Coroutine[Any, Any, None], context: Context) -> asyncio.Task[None]:
        """Create a task, and run the first step that its constructor schedules on the loop."""
        loop = self._loop
        loop.call_soon = self._take  # type: ignore[method-assign,assignment]
        try:
            task = asyncio.Task(coroutine, loop=loop, context=context)
        finally:
            del loop.call_soon
        scheduled, self._scheduled = self._scheduled, []
        for callback, args, at in scheduled:
            if getattr(callback, "__self__", None) is task:
                context.run(callback, *args)
            else:  # from a finalizer: the garbage collector may run at any allocation
                loop.call_soon(callback, *args, context=at)
        return task

    def _take(
        self, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> None:
        self._scheduled.append((callback, args, context))
