"""A call whose first step runs at once, and whose rest runs in the task that awaits the call.

A task for each call would cost three iterations of the event loop: to start, to receive the reply,
and to wake the waiter. Here the first step, which sends the request, runs at once. The call gets a
task of its own only if it has to continue before it is awaited, for example to send a rejected
request to another replica.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Generic, TypeAlias, TypeVar

from alacarte.aio import mark_retrieved
from alacarte.types import NestedCalls

__all__ = ["EagerCall", "Step"]

T = TypeVar("T")
Step: TypeAlias = "asyncio.Future[object] | None"
"""The future that a coroutine awaits after a step; None after a bare yield."""


class EagerCall(Generic[T]):
    """A started coroutine, which can be awaited any number of times, on its own loop only.

    Not for coroutines that use the current task, as `asyncio.timeout` does: the first step runs in
    the task that makes the call, the others in the task that awaits it.

    Args:
        work: A coroutine that has not started. Its first step runs now; an exception of that step
            is raised when the call is awaited.
        loop: The running loop.
        nested: The nested calls of the current request, which keep this call until it ends.
    """

    __slots__ = ("_is_taken", "_loop", "_nested", "_outcome", "_task", "_waiting", "_work")

    def __init__(
        self,
        work: Coroutine[Step, None, T],
        loop: asyncio.AbstractEventLoop,
        nested: NestedCalls | None = None,
    ) -> None:
        self._loop = loop
        self._work = work
        self._nested = nested
        self._is_taken = False
        self._task: asyncio.Task[T] | None = None
        self._outcome: asyncio.Future[T] | None = None
        self._waiting: Step = None
        try:
            waiting = work.send(None)
        except StopIteration as end:
            self._new_outcome().set_result(end.value)
        except Exception as error:  # raised when the call is awaited, as a task would
            outcome = self._new_outcome()
            outcome.set_exception(error)
            outcome.exception()  # retrieved: asyncio logs nothing if the call is never awaited
        else:
            self._waiting = waiting
            if nested is not None:
                nested.add(self)
            if waiting is None:  # a bare yield: the next step can run
                self._run_in_task_if_unawaited(waiting)
            else:
                waiting.add_done_callback(self._run_in_task_if_unawaited)

    def __await__(self) -> Generator[Step, None, T]:
        if self._is_taken:
            return (yield from self._join())
        self._is_taken = True
        try:
            result = yield from self._run_rest()
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

    def _run_rest(self) -> Generator[Step, None, T]:
        """Run the steps after the first one, as `yield from work` would."""
        work, waiting = self._work, self._waiting
        try:
            while True:
                try:
                    yield waiting
                except BaseException as error:  # a cancellation, or an error of the awaited future
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

    def _join(self) -> Generator[Step, None, T]:
        """Wait for the outcome, while another waiter or the call's own task runs the steps."""
        if self._task is not None:
            return (yield from self._task)
        if self._outcome is None:
            self._outcome = self._loop.create_future()
        return (yield from asyncio.shield(self._outcome))

    def _run_in_task_if_unawaited(self, waiting: Step) -> None:
        """Run the rest in a task, because the next step can run and the call is not awaited."""
        if not self._is_taken:
            # Set now, not when the task starts: a waiter may come in between.
            self._is_taken = True
            self._task = self._loop.create_task(_await_rest(_Continuation(self._run_rest())))
            self._task.add_done_callback(mark_retrieved)

    def _new_outcome(self) -> asyncio.Future[T]:
        self._is_taken = True
        self._outcome = self._loop.create_future()
        return self._outcome


class _Continuation(Generic[T]):
    """The steps after the first one, as an awaitable."""

    def __init__(self, steps: Generator[Step, None, T]) -> None:
        self._steps = steps

    def __await__(self) -> Generator[Step, None, T]:
        return self._steps


async def _await_rest(rest: _Continuation[T]) -> T:
    return await rest
