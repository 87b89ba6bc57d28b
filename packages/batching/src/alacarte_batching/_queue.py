"""The asyncio side of batching: a future per item, a task per batch, a timer while items wait.

An idle queue has no task and no timer, so a stopping replica has nothing to clean up.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import weakref
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
from .errors import BatchSizeError, ItemTooLargeError, count

__all__ = ["BatchedFunction", "Item", "Queue", "Step"]

log = logging.getLogger("alacarte.batching")

Step = tuple[object, "asyncio.Future[Step | None]"]
"""A value of a caller's stream, and the future of the next step: None at the end."""


@dataclass(frozen=True)
class BatchedFunction:
    """A batched function with its options.

    Attributes:
        function: The user's function; for a method, the unbound one.
        parameters: Parameters of the function.
        limits: Options of the function, which may change.
        measure: The user's `batch_size_fn`.
        streams: The function is an async generator.
    """

    function: Callable[..., Any]
    parameters: Parameters
    limits: Limits
    measure: Callable[[list[Any]], float] | None
    streams: bool

    @property
    def name(self) -> str:
        """The function's qualified name, for errors."""
        return self.function.__qualname__

    def size(self, items: Sequence[Item]) -> float:
        """Return the total size of some items, by the user's `batch_size_fn`."""
        assert self.measure is not None
        return self.measure([self.parameters.first(item) for item in items])


class Item:
    """A call that waits for its part of a batch's result.

    Attributes:
        args: Positional arguments.
        kwargs: Keyword arguments.
        future: Resolves to the result. For a generator, resolves to a pair of the next value and
            the future after that one, or to None at the end.
        context: Copy of the caller's context variables.
        model_id: The multiplexed model of the request, "" for none.
        arrived: Time of arrival, on the loop's clock.
        reader: Weak reference that detects that an unread stream was dropped.
    """

    __slots__ = ("args", "arrived", "context", "future", "kwargs", "model_id", "reader")

    def __init__(
        self, args: tuple[object, ...], kwargs: dict[str, object], future: asyncio.Future[Any]
    ) -> None:
        self.args = args
        self.kwargs = kwargs
        self.future = future
        self.context = contextvars.copy_context()
        call = current_call.get()
        self.model_id = "" if call is None else call.model_id
        self.arrived = 0.0
        self.reader: weakref.ref[AsyncGenerator[object, None]] | None = None

    @property
    def done(self) -> bool:
        """Whether the caller has its last result, or has gone."""
        return self.future.done()

    def resolve(self, value: object) -> None:
        """Set the caller's result."""
        if not self.future.done():
            self.future.set_result(value)

    def put(self, value: object) -> None:
        """Append a value to the caller's stream.

        Unread values stay in memory: a slow reader does not delay the others of its batch, and at
        worst its whole reply is in memory.
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
    """The queue of calls of one function, on one event loop and, for a method, one instance.

    The queue needs no limit: each item is a call in progress, and a replica accepts at most
    `max_ongoing_requests` of them. An idle queue references neither its loop nor its instance.

    Args:
        target: The batched function.
        observer: Plugins' observer of batches, None for none.
    """

    def __init__(self, target: BatchedFunction, observer: BatchObserver | None = None) -> None:
        self._target = target
        self._observer = observer
        self._batcher: Batcher[Item] = Batcher(
            target.limits, target.size if target.measure is not None else None
        )
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: float | None = None
        # Strong references: asyncio keeps only weak ones to tasks.
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, args: tuple[object, ...], kwargs: dict[str, object]) -> Item:
        """Add a call to the queue and return its item.

        Raises:
            TypeError: The arguments do not match the function's signature.
            ItemTooLargeError: The item alone is larger than a batch may be.
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
        # Only full batches: calls of one iteration share a batch even with a timeout of zero.
        self._start_due(loop, None)
        return item

    def drop(self, item: Item) -> None:
        """Drop the item of a caller that has gone. A batch that contains it keeps running."""
        future = item.future
        if future.done() and not future.cancelled():
            # The last result is there. If it is an error that the caller has not read, retrieve it:
            # asyncio logs errors that were never retrieved.
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
            # `batch_size_fn` is foreign code. It would fail again for the same items, so all
            # waiting callers get the error, and the queue starts empty.
            for item in self._batcher.clear():
                item.fail(error)
        self._arm(loop)

    def _start(self, loop: asyncio.AbstractEventLoop, batch: list[Item]) -> None:
        """Run a batch; if its items are for several models, as one concurrent batch per model."""
        parts = _by_model(batch)
        running: list[asyncio.Task[None]] = []
        for part in parts:
            # In the first caller's context: a task has only one.
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
        """Notify the observer of a batch's start now, and of its end."""
        began = task.get_loop().time()
        observer.started(len(batch), began - min(item.arrived for item in batch))

        def ended(task: asyncio.Task[None]) -> None:
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            observer.ended(len(batch), task.get_loop().time() - began, error)

        task.add_done_callback(ended)

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        """Set the timer to the next batch's timeout, or cancel it."""
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
        # Timers may fire early, by the clock's resolution (asyncio) or by rounding to milliseconds
        # (uvloop): the timer decides, not the clock.
        self._start_due(loop, max(closes_at, loop.time()))

    async def _run(self, batch: list[Item]) -> None:
        try:
            await self._call(batch)
        except (SystemExit, KeyboardInterrupt) as error:  # they would stop the event loop
            name = self._target.name
            raise RuntimeError(f"{name} raised {type(error).__name__}") from error

    async def _call(self, batch: list[Item]) -> None:
        _detach_from_caller()
        calls = self._live(batch)
        if not calls:
            return
        args, kwargs = self._target.parameters.columns(calls)
        if self._target.streams:
            await self._stream(calls, self._target.function(*args, **kwargs))
            return
        results = self._check_results(await self._target.function(*args, **kwargs), len(calls))
        for item, result in zip(calls, results, strict=True):
            item.resolve(result)

    def _live(self, batch: list[Item]) -> list[Item]:
        """Return the items whose callers still wait and pass the same parameters as the first.

        Calls with other parameters get a TypeError.
        """
        calls = [item for item in batch if not item.done]
        parameters = self._target.parameters
        odd = [item for item in calls if not parameters.have_same_parameters(item, calls[0])]
        for item in odd:
            item.fail(parameters.mismatch(item, calls[0]))
        return [item for item in calls if not item.done] if odd else calls

    async def _stream(self, calls: list[Item], steps: AsyncGenerator[object, None]) -> None:
        async with aclosing(steps):
            async for values in steps:
                for item, value in zip(calls, self._check_results(values, len(calls)), strict=True):
                    if _ends_stream(value):
                        item.resolve(None)
                    else:
                        item.put(value)
                if all(item.done for item in calls):
                    return
        for item in calls:
            item.resolve(None)

    def _check_results(self, results: Any, given: int) -> Sequence[object]:
        """Return the results of a batch as a list with one result per item.

        Accepts any object with a length and an index: a tuple, an array, a tensor.
        """
        try:
            returned = len(results)
        except TypeError:
            raise TypeError(
                f"{self._target.name} returned a {type(results).__name__} for a batch of "
                f"{count(given, 'item')}; return a list with one result per item."
            ) from None
        if returned != given:
            raise BatchSizeError(self._target.name, given, returned)
        return results if isinstance(results, list) else [results[i] for i in range(given)]

    def _ended(
        self, batch: list[Item], running: list[asyncio.Task[None]], task: asyncio.Task[None]
    ) -> None:
        """Settle a batch's remaining items, and start the next batch when all parts have ended.

        A done callback, because a task that is cancelled before its first step runs no `finally`,
        and the queue would never continue.
        """
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and all(item.done for item in batch):
            log.error("%s failed, and no caller waits for it", self._target.name, exc_info=error)
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
    """Group the items of a batch by model, in the order of each model's first item."""
    first = batch[0].model_id
    if all(item.model_id == first for item in batch):
        return [batch]
    parts: dict[str, list[Item]] = {}
    for item in batch:
        parts.setdefault(item.model_id, []).append(item)
    return list(parts.values())


def _ends_stream(value: object) -> bool:
    """Return whether a generator's value is a marker that ends one caller's stream."""
    return (
        value is StopIteration
        or value is StopAsyncIteration
        or isinstance(value, (StopIteration, StopAsyncIteration))
    )


def _detach_from_caller() -> None:
    """Detach the running batch from the first caller's deadline and cancellation.

    The batch works for all callers. A copy of a call does not track the calls that it makes, so the
    first caller's end does not cancel them.
    """
    call = current_call.get()
    if call is not None:
        current_call.set(replace(call, deadline=None))
