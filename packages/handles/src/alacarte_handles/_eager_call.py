"""A call that has begun, and that whoever waits for it carries on.

A task for each call would cost three turns of the event loop: to begin, to hear of the reply, to
tell its waiter. Here the first step is taken at once, which sends the request, and the rest runs in
the task of whoever awaits. A task of its own is made only when nobody awaits before there is
something to do, such as sending a refused request elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

from alacarte.aio import mark_retrieved
from alacarte.types import NestedCalls

__all__ = ["EagerCall"]

T = TypeVar("T")


class EagerCall(Generic[T]):
    """A coroutine, begun. Awaitable any number of times, on its own loop only.

    Not for coroutines that look at the task they run in, as `asyncio.timeout` does: the first step
    runs in the task that begins it, the others elsewhere.

    Args:
        work: Not begun yet. Its first step runs now; what it raises at once is raised when awaited.
        loop: The running loop.
        nested: Of the request that this is begun in, which holds it until it ends.
    """

    __slots__ = ("_loop", "_nested", "_outcome", "_taken", "_task", "_waiting", "_work")

    def __init__(
        self,
        work: Coroutine[Any, Any, T],
        loop: asyncio.AbstractEventLoop,
        nested: NestedCalls | None = None,
    ) -> None:
        self._loop = loop
        self._work = work
        self._nested = nested
        self._taken = False
        self._task: asyncio.Task[T] | None = None
        self._outcome: asyncio.Future[T] | None = None
        self._waiting: asyncio.Future[Any] | None = None
        try:
            waiting = work.send(None)
        except StopIteration as end:
            self._finish().set_result(end.value)
        except Exception as error:  # it is the outcome, as it would be a task's
            outcome = self._finish()
            outcome.set_exception(error)
            outcome.exception()  # seen, should nobody ever ask
        else:
            self._waiting = waiting
            if nested is not None:
                nested.add(self)
            if waiting is None:  # a bare yield: there is more to do already
                self._unattended(waiting)
            else:
                waiting.add_done_callback(self._unattended)

    def __await__(self) -> Generator[Any, Any, T]:
        if self._taken:
            return (yield from self._join())
        self._taken = True
        try:
            result = yield from self._carry_on()
        except BaseException as error:
            if self._outcome is not None and not self._outcome.done():
                self._outcome.set_exception(
                    error if isinstance(error, Exception) else asyncio.CancelledError()
                )
                self._outcome.exception()
            raise
        if self._outcome is not None and not self._outcome.done():
            self._outcome.set_result(result)
        return result

    def cancel(self) -> None:
        """Cancel the work, as a task is cancelled."""
        if self._task is not None:
            self._task.cancel()
        elif self._waiting is not None:
            self._waiting.cancel()

    def _carry_on(self) -> Generator[Any, Any, T]:
        """Run the rest: what `yield from work` does, when the first step has been taken."""
        work, waiting = self._work, self._waiting
        try:
            while True:
                try:
                    yield waiting
                except BaseException as error:  # a cancellation, or the failure waited for
                    step, value = work.throw, error
                else:
                    step, value = work.send, None  # type: ignore[assignment]
                try:
                    waiting = self._waiting = step(value)
                except StopIteration as end:
                    result: T = end.value
                    return result
        finally:
            if self._nested is not None:
                self._nested.discard(self)

    def _join(self) -> Generator[Any, Any, T]:
        """Wait for what another waiter, or the work's own task, is carrying on."""
        if self._task is not None:
            return (yield from self._task)
        if self._outcome is None:
            self._outcome = self._loop.create_future()
        return (yield from asyncio.shield(self._outcome))

    def _unattended(self, waiting: asyncio.Future[Any] | None) -> None:
        """There is something to do; if nobody waits for the result, do it in a task."""
        if not self._taken:
            # At once, not when the task begins: another waiter may come in between.
            self._taken = True
            self._task = self._loop.create_task(_carried(_Rest(self._carry_on())))
            self._task.add_done_callback(mark_retrieved)

    def _finish(self) -> asyncio.Future[T]:
        self._taken = True
        self._outcome = self._loop.create_future()
        return self._outcome


class _Rest(Generic[T]):
    """What is left of the work, as something to await."""

    def __init__(self, steps: Generator[Any, Any, T]) -> None:
        self._steps = steps

    def __await__(self) -> Generator[Any, Any, T]:
        return self._steps


async def _carried(rest: _Rest[T]) -> T:
    return await rest
