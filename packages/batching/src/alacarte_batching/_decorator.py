"""The decorator `@serve.batch`."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import inspect
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from functools import partial, wraps
from typing import Any, Protocol, TypeVar, cast, overload

from ._bound_queues import BoundQueues
from ._limits import Limits
from ._parameters import Parameters
from ._queue import BatchedFunction, Item, Queue, Step

__all__ = ["Batched", "batch"]

ResultT = TypeVar("ResultT")
ReturnT_co = TypeVar("ReturnT_co", covariant=True)


class Batched(Protocol[ReturnT_co]):
    """A batched function or method for its callers: takes one item, returns one result.

    The result is typed. The arguments are not, because types cannot express "each parameter
    without its list".
    """

    def __call__(self, *args: Any, **kwargs: Any) -> ReturnT_co:
        """Pass one item; await its result, or iterate its values."""

    def __get__(self, instance: object, owner: type | None = None) -> Batched[ReturnT_co]:
        """Return the method of an instance."""

    def set_max_batch_size(self, max_batch_size: int) -> None:
        """Change `max_batch_size`, for all instances in this process."""

    def set_batch_wait_timeout_s(self, batch_wait_timeout_s: float) -> None:
        """Change `batch_wait_timeout_s`, for all instances in this process."""


class Decorator(Protocol):
    """The decorator that `batch` with options returns."""

    @overload
    def __call__(
        self, function: Callable[..., Coroutine[object, object, Sequence[ResultT]]], /
    ) -> Batched[Coroutine[object, object, ResultT]]: ...
    @overload
    def __call__(
        self, function: Callable[..., AsyncGenerator[Sequence[ResultT], None]], /
    ) -> Batched[AsyncGenerator[ResultT, None]]: ...
    @overload
    def __call__(
        self, function: Callable[..., Coroutine[object, object, object]], /
    ) -> Batched[Coroutine[object, object, Any]]: ...


@overload
def batch(
    _func: Callable[..., Coroutine[object, object, Sequence[ResultT]]], /
) -> Batched[Coroutine[object, object, ResultT]]: ...
@overload
def batch(
    _func: Callable[..., AsyncGenerator[Sequence[ResultT], None]], /
) -> Batched[AsyncGenerator[ResultT, None]]: ...
@overload
def batch(
    _func: Callable[..., Coroutine[object, object, object]], /
) -> Batched[Coroutine[object, object, Any]]: ...
@overload
def batch(
    _func: None = None,
    /,
    *,
    max_batch_size: int = 10,
    batch_wait_timeout_s: float = 0.01,
    max_concurrent_batches: int = 1,
    batch_size_fn: Callable[[list[Any]], int] | None = None,
) -> Decorator: ...


def batch(
    _func: Callable[..., object] | None = None,
    /,
    *,
    max_batch_size: int = 10,
    batch_wait_timeout_s: float = 0.01,
    max_concurrent_batches: int = 1,
    batch_size_fn: Callable[[list[Any]], int] | None = None,
) -> object:
    """Batch concurrent calls with one item each into calls with a list of items.

    The function is `async def`. It takes a list for each parameter, and returns a list with one
    result per item, in the same order. An async generator yields such lists, and each caller
    iterates its own values; the call itself queues the item, before the first iteration.
    `StopIteration` in place of a value ends one caller's stream. All calls in a batch must pass the
    same parameters.

    ```python
    @serve.deployment
    class Model:
        @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.005)
        async def predict(self, images: list[Image]) -> list[str]:
            return self.model(images)

        async def __call__(self, request: Request) -> str:
            return await self.predict(await image_of(request))
    ```

    A batch runs when it is full or its first item has waited long enough. While
    `max_concurrent_batches` run, the next batch keeps filling. Methods (functions whose first
    parameter is named `self` or `cls`) batch the calls on one instance. Calls from different event
    loops are not mixed.

    If the function raises, or returns a list of the wrong length, every caller of the batch gets
    the error. A caller that is cancelled before its batch runs is removed from the batch; a running
    batch continues for the other callers. A generator without callers is closed.

    Items of requests for different models (`serve.get_multiplexed_model_id`) are not mixed: such a
    batch is split into one batch per model, which run concurrently.

    A batch runs in a task of its own, in a copy of the first caller's context variables. Pass
    values that differ between callers as arguments: the context has only the first caller's. Values
    that the function sets in the context reach no caller.

    Args:
        _func: The function, when the decorator is used without parentheses.
        max_batch_size: Maximum number of items in a batch. The function's `set_max_batch_size`
            changes the limit at run time.
        batch_wait_timeout_s: Longest time that the first item of a batch waits for others, in
            seconds. The function's `set_batch_wait_timeout_s` changes the timeout at run time.
        max_concurrent_batches: Maximum number of concurrent batches per instance.
        batch_size_fn: Returns the size of a list of items (of first arguments), if an item does not
            count as one: tokens or pixels, for example. Called for each new item, so it should be
            fast.

    Raises:
        TypeError: The function is not `async def`, or an option has the wrong type.
        ValueError: An option is out of range.
    """
    options = Limits(max_batch_size, batch_wait_timeout_s, max_concurrent_batches)
    if batch_size_fn is not None and not callable(batch_size_fn):
        raise TypeError(
            f"@serve.batch: batch_size_fn is {batch_size_fn!r}; it must be None or a function that "
            f"takes a list of items and returns their size."
        )

    def decorate(function: Callable[..., object]) -> object:
        streams = inspect.isasyncgenfunction(function)
        is_async = streams or inspect.iscoroutinefunction(function)
        if not (is_async and inspect.isroutine(function)):
            name = getattr(function, "__qualname__", repr(function))
            raise TypeError(f"@serve.batch: {name} must be a function defined with `async def`.")
        # A copy: one decorator may decorate two functions, whose limits change independently.
        limits = copy.copy(options)
        queues = BoundQueues(
            BatchedFunction(function, Parameters(function), limits, batch_size_fn, streams)
        )
        wrapper = cast("Any", (_streaming if streams else _plain)(function, queues))
        wrapper.set_max_batch_size = limits.set_max_batch_size
        wrapper.set_batch_wait_timeout_s = limits.set_batch_wait_timeout_s
        wrapper._get_max_batch_size = limits.get_max_batch_size
        wrapper._get_batch_wait_timeout_s = limits.get_batch_wait_timeout_s
        return wrapper

    return decorate if _func is None else decorate(_func)


# Real functions, so that `inspect` reports a coroutine function or a function of a generator.


def _plain(
    function: Callable[..., object], queues: BoundQueues
) -> Callable[..., Coroutine[object, object, object]]:
    @wraps(function)
    async def call(*args: object, **kwargs: object) -> object:
        queue = queues.of(args)
        item = queue.add(args, kwargs)
        try:
            return await item.future
        except asyncio.CancelledError:
            queue.drop(item)
            raise

    return call


def _streaming(
    function: Callable[..., object], queues: BoundQueues
) -> Callable[..., AsyncGenerator[object, None]]:
    @wraps(function)
    def stream(*args: object, **kwargs: object) -> AsyncGenerator[object, None]:
        # Queued at the call, so that streams that are read one after the other share a batch.
        queue = queues.of(args)
        item = queue.add(args, kwargs)
        values = _values(queue, item, item.future)
        item.reader = weakref.ref(values, partial(_dropped, queue, item))
        return values

    return stream


async def _values(
    queue: Queue, item: Item, future: asyncio.Future[Step | None]
) -> AsyncGenerator[object, None]:
    item.reader = None  # from here on, `finally` drops the item
    try:
        while (step := await future) is not None:
            value, future = step
            yield value
    finally:
        queue.drop(item)


def _dropped(queue: Queue, item: Item, _: object) -> None:
    """Drop a call whose stream was never read. Runs in the thread that collects garbage."""
    item.reader = None
    with contextlib.suppress(RuntimeError):  # the loop is closed, and the queue with it
        item.future.get_loop().call_soon_threadsafe(queue.drop, item)
