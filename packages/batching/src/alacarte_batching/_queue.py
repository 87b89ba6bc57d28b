"""The asyncio side of batching: a future per item, a task per batch, a timer while items wait.

Nothing runs when nothing waits: no task polls, and an idle queue holds no timer, so neither a
test nor a stopping replica finds anything left over.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from alacarte.context import current_call
from alacarte.types import BatchObserver

from ._batcher import Batcher
from ._limits import Limits
from ._parameters import Parameters
from .errors import BatchSizeError, ItemTooLargeError

__all__ = ["Item", "Queue", "Target"]

log = logging.getLogger("alacarte.batching")


@dataclass(frozen=True)
class Target:
    """A batched function and how to call it.

    Attributes:
        function: As the user wrote it; a method's is not bound.
        parameters: Its parameters.
        limits: Its options, which may change.
        measure: `batch_size_fn`.
        streams: It is an async generator.
    """

    function: Callable[..., Any]
    parameters: Parameters
    limits: Limits
    measure: Callable[[list[Any]], Any] | None
    streams: bool

    @property
    def name(self) -> str:
        """What errors call it."""
        return self.function.__qualname__

    def size(self, items: Sequence[Item]) -> Any:
        """Return the joint size of some items, as the user's `batch_size_fn` has it."""
        assert self.measure is not None
        return self.measure([self.parameters.first(item) for item in items])


class Item:
    """One call that waits for its part of a batch's result.

    Attributes:
        args: Positional arguments.
        kwargs: The others.
        future: Resolves to the result. For a generator, to the next value and the future of the
            one after it, or to None at the end.
        context: The caller's context variables.
        model_id: The multiplexed model its request is for, "" for none.
        arrived: When it came, on the loop's clock.
        reader: Notices that nobody will read a stream that has not begun.
    """

    __slots__ = ("args", "arrived", "context", "future", "kwargs", "model_id", "reader")

    def __init__(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], future: asyncio.Future[Any]
    ) -> None:
        self.args = args
        self.kwargs = kwargs
        self.future = future
        self.context = contextvars.copy_context()
        call = current_call.get()
        self.model_id = "" if call is None else call.model_id
        self.arrived = 0.0
        self.reader: Any = None

    @property
    def done(self) -> bool:
        """Whether the caller has all it will get, or has gone."""
        return self.future.done()

    def resolve(self, value: Any) -> None:
        """Give the caller its result."""
        if not self.future.done():
            self.future.set_result(value)

    def put(self, value: Any) -> None:
        """Give the caller the next value of its stream.

        Values wait in memory until they are read. A reader that is slow does not hold up the
        others of its batch, and at worst what it has not read is all of its reply.
        """
        if not self.future.done():
            following = self.future.get_loop().create_future()
            self.future.set_result((value, following))
            self.future = following

    def fail(self, error: BaseException) -> None:
        """Raise `error` at the caller."""
        if not self.future.done():
            self.future.set_exception(error)


class Queue:
    """Calls of one function, on one instance if it is a method, in one event loop.

    It needs no bound of its own: each item is a call in progress, and a replica accepts no more
    than `max_ongoing_requests` of them. It never holds the loop while idle, nor its instance.

    Args:
        target: The function.
        observer: Of a plugin, None where none asks.
    """

    def __init__(self, target: Target, observer: BatchObserver | None = None) -> None:
        self._target = target
        self._observer = observer
        self._batcher: Batcher[Item] = Batcher(
            target.limits, target.size if target.measure is not None else None
        )
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: float | None = None
        # asyncio itself keeps only weak references to tasks.
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Item:
        """Take up one call.

        Raises:
            TypeError: The arguments do not fit the function.
            ItemTooLargeError: No batch can hold it.
        """
        loop = asyncio.get_running_loop()
        target = self._target
        item = Item(*target.parameters.normalise(args, kwargs), loop.create_future())
        if target.measure is not None:
            limit = target.limits.max_batch_size
            size = target.size([item])
            if size > limit:
                raise ItemTooLargeError(target.name, size, limit)
        self._batcher.add(item, loop.time())
        if self._observer is not None:
            self._observer.queued()
        # By size alone, so that calls made in one go share a batch even at a timeout of zero.
        self._start_due(loop, None)
        return item

    def drop(self, item: Item) -> None:
        """The caller of `item` has gone. A batch it is already part of runs on."""
        future = item.future
        if future.done() and not future.cancelled():
            # All there is has come. An error among it that the caller never came to read is to
            # count as seen, or asyncio logs that it was not.
            future.exception()
            return
        future.cancel()
        if self._batcher.discard(item):
            self._arm(item.future.get_loop())

    def _start_due(self, loop: asyncio.AbstractEventLoop, now: float | None) -> None:
        try:
            while batch := self._batcher.take(now):
                self._start(loop, batch)
        except BaseException as error:
            # `batch_size_fn` is foreign code. Whatever it choked on would stop the queue again
            # and again, so it is told to all who wait, and the queue goes on.
            for item in self._batcher.clear():
                item.fail(error)
        self._arm(loop)

    def _start(self, loop: asyncio.AbstractEventLoop, batch: list[Item]) -> None:
        """Run a batch: as one for each model, at the same time, where its items ask for several."""
        parts = _by_model(batch)
        running: list[asyncio.Task[None]] = []
        for part in parts:
            # In the first caller's context, for want of a better one.
            task = loop.create_task(
                self._run(part), name=f"batch {self._target.name}", context=part[0].context
            )
            if self._observer is not None:
                self._observe(self._observer, part, task)
            running.append(task)
            self._tasks.add(task)
            task.add_done_callback(partial(self._ended, part, running))

    def _observe(
        self, observer: BatchObserver, batch: list[Item], task: asyncio.Task[None]
    ) -> None:
        """Tell a plugin of a batch that begins now, and of its end."""
        began = task.get_loop().time()
        observer.started(len(batch), began - min(item.arrived for item in batch))

        def ended(task: asyncio.Task[None]) -> None:
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            observer.ended(len(batch), task.get_loop().time() - began, error)

        task.add_done_callback(ended)

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the timer go off when the next batch closes, or not at all."""
        closes_at = self._batcher.closes_at()
        if closes_at == self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._timer_at = closes_at
        if closes_at is not None:
            self._timer = loop.call_at(closes_at, self._time_out, loop, closes_at)

    def _time_out(self, loop: asyncio.AbstractEventLoop, closes_at: float) -> None:
        self._timer = self._timer_at = None
        # Loops let timers go off early, by their clock's resolution (asyncio) or rounded to
        # milliseconds (uvloop): that it went off is what says that the time has come.
        self._start_due(loop, max(closes_at, loop.time()))

    async def _run(self, batch: list[Item]) -> None:
        try:
            await self._call(batch)
        except (SystemExit, KeyboardInterrupt) as error:  # they would stop the event loop
            name = self._target.name
            raise RuntimeError(f"{name} raised {type(error).__name__}") from error

    async def _call(self, batch: list[Item]) -> None:
        _leave_caller()
        calls = self._live(batch)
        if not calls:
            return
        args, kwargs = self._target.parameters.columns(calls)
        if self._target.streams:
            await self._stream(calls, self._target.function(*args, **kwargs))
            return
        results = self._checked(await self._target.function(*args, **kwargs), len(calls))
        for item, result in zip(calls, results, strict=True):
            item.resolve(result)

    def _live(self, batch: list[Item]) -> list[Item]:
        """Return those of a batch whose callers are still there, without odd ones.

        Calls that do not pass the parameters that the first one does get a TypeError.
        """
        calls = [item for item in batch if not item.done]
        parameters = self._target.parameters
        odd = [item for item in calls if not parameters.alike(item, calls[0])]
        for item in odd:
            item.fail(parameters.mismatch(item, calls[0]))
        return [item for item in calls if not item.done] if odd else calls

    async def _stream(self, calls: list[Item], steps: AsyncGenerator[Any, None]) -> None:
        async with aclosing(steps):
            async for values in steps:
                for item, value in zip(calls, self._checked(values, len(calls)), strict=True):
                    if _ends_stream(value):
                        item.resolve(None)
                    else:
                        item.put(value)
                if all(item.done for item in calls):
                    return
        for item in calls:
            item.resolve(None)

    def _checked(self, results: Any, given: int) -> Sequence[Any]:
        """Return the results of a batch as a list, one for each item given.

        Anything with a length and an index is taken: a tuple, an array, a tensor.
        """
        try:
            returned = len(results)
        except TypeError:
            raise TypeError(
                f"{self._target.name}: {given} items in, a {type(results).__name__} out; "
                f"a batched function gives a list with one result for each item."
            ) from None
        if returned != given:
            raise BatchSizeError(self._target.name, given, returned)
        return results if isinstance(results, list) else [results[i] for i in range(given)]

    def _ended(
        self, batch: list[Item], running: list[asyncio.Task[None]], task: asyncio.Task[None]
    ) -> None:
        """Settle what a batch left unsettled, and start the next when all its parts have ended.

        A done callback, because a task that is cancelled before its first step never runs a
        line of its own, and the queue would wait for it for ever.
        """
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and all(item.done for item in batch):
            log.error("%s failed, with no caller left to tell", self._target.name, exc_info=error)
        for item in batch:
            if error is None:
                item.future.cancel()
            else:
                item.fail(error)
        running.remove(task)
        if running:
            return
        self._batcher.finish()
        loop = task.get_loop()
        self._start_due(loop, loop.time())


def _by_model(batch: list[Item]) -> list[list[Item]]:
    """Return the items of a batch by the model they are for, in the order of the first of each."""
    first = batch[0].model_id
    if all(item.model_id == first for item in batch):
        return [batch]
    parts: dict[str, list[Item]] = {}
    for item in batch:
        parts.setdefault(item.model_id, []).append(item)
    return list(parts.values())


def _ends_stream(value: Any) -> bool:
    """Whether a generator put this in place of a value, to end one caller's stream."""
    return (
        value is StopIteration
        or value is StopAsyncIteration
        or isinstance(value, (StopIteration, StopAsyncIteration))
    )


def _leave_caller() -> None:
    """Go on without the first caller's deadline, and past its end: a batch calls for all.

    A copy of a call does not know what the call has called, and so does not cancel it.
    """
    call = current_call.get()
    if call is not None:
        current_call.set(replace(call, deadline=None))
