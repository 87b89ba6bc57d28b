"""`@serve.batch`, as users write it."""

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
from ._queue import Item, Queue, Target

__all__ = ["Batched", "batch"]

ResultT = TypeVar("ResultT")
ReturnT_co = TypeVar("ReturnT_co", covariant=True)


class Batched(Protocol[ReturnT_co]):
    """A batched function or method, as its callers see it: one item in, one result out.

    What is awaited or iterated is typed; the arguments are not, since types cannot say "each
    parameter without its list".
    """

    def __call__(self, *args: Any, **kwargs: Any) -> ReturnT_co:
        """Pass one item; await its result, or iterate its values."""

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Batched[ReturnT_co]:
        """Return the method of an instance."""

    def set_max_batch_size(self, max_batch_size: int) -> None:
        """Change `max_batch_size`, for all instances in this process."""

    def set_batch_wait_timeout_s(self, batch_wait_timeout_s: float) -> None:
        """Change `batch_wait_timeout_s`, for all instances in this process."""


class Decorator(Protocol):
    """What `batch` with options returns."""

    @overload
    def __call__(
        self, function: Callable[..., Coroutine[Any, Any, Sequence[ResultT]]], /
    ) -> Batched[Coroutine[Any, Any, ResultT]]: ...
    @overload
    def __call__(
        self, function: Callable[..., AsyncGenerator[Sequence[ResultT], None]], /
    ) -> Batched[AsyncGenerator[ResultT, None]]: ...
    @overload
    def __call__(
        self, function: Callable[..., Coroutine[Any, Any, Any]], /
    ) -> Batched[Coroutine[Any, Any, Any]]: ...


@overload
def batch(
    _func: Callable[..., Coroutine[Any, Any, Sequence[ResultT]]], /
) -> Batched[Coroutine[Any, Any, ResultT]]: ...
@overload
def batch(
    _func: Callable[..., AsyncGenerator[Sequence[ResultT], None]], /
) -> Batched[AsyncGenerator[ResultT, None]]: ...
@overload
def batch(
    _func: Callable[..., Coroutine[Any, Any, Any]], /
) -> Batched[Coroutine[Any, Any, Any]]: ...
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
    _func: Callable[..., Any] | None = None,
    /,
    *,
    max_batch_size: int = 10,
    batch_wait_timeout_s: float = 0.01,
    max_concurrent_batches: int = 1,
    batch_size_fn: Callable[[list[Any]], int] | None = None,
) -> Any:
    """Gather calls with one item each into calls with a list of items.

    The function is `async def`. It takes a list for each parameter that callers pass, and
    returns a list with one result for each item, in the same order; or, as an async generator,
    yields such lists, and each caller iterates its own values: the call queues the item, before
    the first value is asked for. `StopIteration` in place of a
    value ends one caller's stream. Calls that share a batch must pass the same parameters.

    ```python
    @serve.deployment
    class Model:
        @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.005)
        async def predict(self, images: list[Image]) -> list[str]:
            return self.model(images)

        async def __call__(self, request: Request) -> str:
            return await self.predict(await image_of(request))
    ```

    A batch runs when it is full or when its first item has waited long enough; while as many
    run as may, the next goes on filling. Methods (their first parameter is called `self` or
    `cls`) batch the calls on one instance. Calls from different event loops are not mixed.

    An exception of the function, or a list of the wrong length, is raised at every caller of
    the batch. A caller that is cancelled before its batch runs is left out of it; later, the
    batch runs on for the others. A generator whose callers have all gone is closed.

    Items of requests for different models (`serve.get_multiplexed_model_id`) are not mixed: a
    batch of them is handed over as one for each model, all at the same time.

    A batch runs in a task of its own, with a copy of the first caller's context variables:
    what it reads of a request there is true of one caller only, so pass what differs between
    callers as arguments. What it sets there, no caller sees.

    Args:
        _func: The function, when the decorator is used without parentheses.
        max_batch_size: The most items in one batch. The function's `set_max_batch_size`
            changes it while it runs.
        batch_wait_timeout_s: The longest the first item of a batch waits for others, in
            seconds. The function's `set_batch_wait_timeout_s` changes it while it runs.
        max_concurrent_batches: The most batches to run at a time, for each instance.
        batch_size_fn: Gives the size of a list of items (of first arguments), where items do
            not count as one each: tokens, pixels. It is called again for each item that comes,
            so it should be quick.

    Raises:
        TypeError: The function is not `async def`, or an option is of the wrong type.
        ValueError: An option is out of range.
    """
    options = Limits(max_batch_size, batch_wait_timeout_s, max_concurrent_batches)
    if batch_size_fn is not None and not callable(batch_size_fn):
        raise TypeError(
            f"@serve.batch: batch_size_fn is {batch_size_fn!r}; it must be None or a function "
            f"from a list of items to their size."
        )

    def decorate(function: Callable[..., Any]) -> Any:
        streams = inspect.isasyncgenfunction(function)
        is_async = streams or inspect.iscoroutinefunction(function)
        if not (is_async and inspect.isroutine(function)):
            name = getattr(function, "__qualname__", repr(function))
            raise TypeError(f"@serve.batch: {name} must be a function defined with `async def`.")
        # A copy: one decorator may make two functions, whose limits change apart.
        limits = copy.copy(options)
        queues = BoundQueues(Target(function, Parameters(function), limits, batch_size_fn, streams))
        wrapper = cast("Any", (_streaming if streams else _plain)(function, queues))
        wrapper.set_max_batch_size = limits.set_max_batch_size
        wrapper.set_batch_wait_timeout_s = limits.set_batch_wait_timeout_s
        wrapper._get_max_batch_size = limits.get_max_batch_size
        wrapper._get_batch_wait_timeout_s = limits.get_batch_wait_timeout_s
        return wrapper

    return decorate if _func is None else decorate(_func)


# Real functions, so that `inspect` sees what a caller is to do with them: await, or iterate.


def _plain(
    function: Callable[..., Any], queues: BoundQueues
) -> Callable[..., Coroutine[Any, Any, Any]]:
    @wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        queue = queues.of(args)
        item = queue.add(args, kwargs)
        try:
            return await item.future
        except asyncio.CancelledError:
            queue.drop(item)
            raise

    return call


def _streaming(
    function: Callable[..., Any], queues: BoundQueues
) -> Callable[..., AsyncGenerator[Any, None]]:
    @wraps(function)
    def stream(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        # Queued by the call, so that streams read one after the other share a batch.
        queue = queues.of(args)
        item = queue.add(args, kwargs)
        values = _values(queue, item, item.future)
        item.reader = weakref.ref(values, partial(_dropped, queue, item))
        return values

    return stream


async def _values(
    queue: Queue, item: Item, future: asyncio.Future[Any]
) -> AsyncGenerator[Any, None]:
    item.reader = None  # from here on `finally` does what it is for
    try:
        while (step := await future) is not None:
            value, future = step
            yield value
    finally:
        queue.drop(item)


def _dropped(queue: Queue, item: Item, _: object) -> None:
    """Take back a call whose stream was never read. In whichever thread collects garbage."""
    item.reader = None
    with contextlib.suppress(RuntimeError):  # the loop is closed, and the queue with it
        item.future.get_loop().call_soon_threadsafe(queue.drop, item)
