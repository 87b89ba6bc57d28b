"""The user's object in a replica: its construction, its methods, and the threads they run in.

Async code runs on the replica's event loop, sync code in a thread pool with one thread for each
request that the replica accepts. So sync handlers run concurrently and must be thread-safe.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import difflib
import functools
import inspect
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from .._cluster.threads import run_in_daemon_thread
from ..aio import mark_retrieved
from ..errors import ConfigError, NotFoundError
from ..foreign import as_exception, disarm_destructor, is_cancellation
from ..types import DeploymentId, Method

__all__ = ["UserObject", "is_iterator"]

_MAX_ITEMS_AHEAD = 128
"""Most items that a sync generator produces before they are sent."""


class ThreadCounter(Protocol):
    """Counts the threads that still run sync code of cancelled requests. Used on the loop."""

    def thread_abandoned(self) -> None:
        """Count a busy thread whose request was cancelled."""

    def thread_returned(self) -> None:
        """Count an abandoned thread that is free again."""


class UserObject:
    """An instance of the user's class, or the user's function, as a `UserCallable`.

    Args:
        deployment: The deployment of the object.
        target: The user's class or function.
        is_function: `target` is a function, whose only method is `__call__`.
        threads: Size of the thread pool.

    Attributes:
        thread_counter: Counts abandoned threads; set before the first request.
    """

    thread_counter: ThreadCounter | None = None

    def __init__(
        self, deployment: DeploymentId, target: Any, *, is_function: bool, threads: int
    ) -> None:
        self.deployment = deployment
        self.instance: Any = target if is_function else None
        self._target = target
        self._is_function = is_function
        self._methods: dict[str, Method] = {}
        self._pool = self._new_pool(threads)
        self._check: asyncio.Task[None] | None = None

    async def construct(self, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        """Run the constructor on the event loop; an `async def __init__` is awaited."""
        if self._is_function:
            return
        self.instance = self._target.__new__(self._target, *args, **kwargs)
        await _maybe_await(self.instance.__init__(*args, **kwargs))

    async def reconfigure(self, user_config: object) -> None:
        """Pass `user_config` to the user's `reconfigure`.

        Raises:
            ConfigError: The user's class has no method `reconfigure`.
        """
        method = getattr(self.instance, "reconfigure", None)
        if self._is_function or method is None:
            raise ConfigError(
                f"{self.deployment}: user_config is set, but there is no method "
                "reconfigure(self, user_config). Add the method to the class, or remove "
                "user_config."
            )
        await _maybe_await(method(user_config))

    def resize(self, threads: int) -> None:
        """Replace the thread pool by one of another size."""
        before, self._pool = self._pool, self._new_pool(threads)
        before.shutdown(wait=False)

    @property
    def has_health_check(self) -> bool:
        """Whether the user's class has a method `check_health`."""
        return not self._is_function and hasattr(self.instance, "check_health")

    async def check_health(self) -> None:
        """Run the user's `check_health`, if any; it raises when the replica is unhealthy.

        Calls during a running check wait for the same check, so a check that hangs takes one
        thread or task only.
        """
        if not self.has_health_check:
            return
        if self._check is None or self._check.done():
            self._check = asyncio.get_running_loop().create_task(self._run_check())
            self._check.add_done_callback(mark_retrieved)
        await asyncio.shield(self._check)

    async def _run_check(self) -> None:
        """Run one check: async code on the event loop, sync code in a thread of its own.

        Requests may keep all threads of the pool busy.
        """
        check = self.instance.check_health
        if inspect.iscoroutinefunction(check):
            try:
                await check()
            except BaseException as error:  # SystemExit in a task would stop the event loop
                if is_cancellation(error):
                    raise
                raise as_exception(error) from error
            return
        call = functools.partial(contextvars.copy_context().run, _without_stop, check)
        work = run_in_daemon_thread(call, f"{self.deployment.name}-check")
        await _maybe_await(await asyncio.wrap_future(work))

    async def close(self) -> None:
        """Run the user's `__del__`, once, and end the idle threads."""
        if self._check is not None:
            self._check.cancel()
        destructor = None if self._is_function else getattr(self.instance, "__del__", None)
        try:
            if destructor is not None:
                await _maybe_await(destructor())
        except BaseException as error:
            if is_cancellation(error):
                raise
            raise as_exception(error) from error
        finally:
            if destructor is not None:
                disarm_destructor(self.instance)
            self._pool.shutdown(wait=False, cancel_futures=True)

    # --- UserCallable -------------------------------------------------------------------

    def method(self, name: str) -> Method:
        found = self._methods.get(name)
        if found is None:
            found = self._methods[name] = self._look_up(name)
        return found

    async def in_thread(
        self, function: Callable[..., object], *args: object, **kwargs: object
    ) -> Any:
        context = contextvars.copy_context()
        call = functools.partial(context.run, _without_stop, function, *args, **kwargs)
        work = self._pool.submit(call)
        try:
            result = await asyncio.wrap_future(work)
        except asyncio.CancelledError:
            self._abandon(work)
            raise
        # A sync function may return a coroutine.
        return await result if inspect.iscoroutine(result) else result

    async def invoke(self, method: str, /, *args: object, **kwargs: object) -> Any:
        found = self.method(method)
        if found.is_generator:
            result = found.function(*args, **kwargs)
            if inspect.iscoroutine(result):  # of an async function that wraps the generator
                result = await result
        elif found.is_async:
            result = await found.function(*args, **kwargs)
        else:
            result = await self.in_thread(found.function, *args, **kwargs)
        return self.iterate(result) if is_iterator(result) else result

    def iterate(self, generator: Any) -> AsyncIterator[Any]:
        if hasattr(generator, "__anext__"):
            found: AsyncIterator[Any] = generator
            return found
        return self._iterate_sync(iter(generator))

    async def _iterate_sync(self, iterator: Iterator[object]) -> AsyncIterator[object]:
        """Run a sync generator in one thread, a bounded number of items ahead."""
        buffer = _ItemBuffer(asyncio.get_running_loop())
        context = contextvars.copy_context()
        work = self._pool.submit(context.run, buffer.produce, iterator)
        # Wrapped at once, so that the wait ends if the work is cancelled before it begins.
        running = asyncio.wrap_future(work)
        running.add_done_callback(mark_retrieved)
        try:
            async for item in buffer.items():
                yield item
            await running
        finally:
            buffer.stop()
            running.cancel()
            self._abandon(work)

    def _abandon(self, work: Future[Any]) -> None:
        """Cancel work of a cancelled request; if its thread is busy, count the thread as abandoned.

        An abandoned thread keeps the request's slot, since another call would wait for a thread.
        """
        counter = self.thread_counter
        if counter is not None and not work.cancel() and not work.done():
            loop = asyncio.get_running_loop()
            counter.thread_abandoned()
            work.add_done_callback(functools.partial(_return_thread, loop, counter))

    def _new_pool(self, threads: int) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(threads, thread_name_prefix=f"{self.deployment.name}-handler")

    def _look_up(self, name: str) -> Method:
        if self._is_function and name == "__call__":
            function = self.instance
        else:
            function = getattr(self.instance, name, None)
        if not callable(function) or (self._is_function and name != "__call__"):
            raise NotFoundError(self._no_method(name))
        # The outermost function counts: a decorator may collect the items of a generator.
        outer = _called_function(function)
        kind = outer if inspect.ismethod(function) else _called_function(inspect.unwrap(function))
        is_async = any(map(inspect.iscoroutinefunction, (outer, kind)))
        # `batch` makes an async generator from a plain function, and needs the event loop.
        returns_async = not is_async and inspect.isasyncgenfunction(inspect.unwrap(kind))
        return Method(function, is_async, _is_generator(outer) or returns_async)

    def _no_method(self, name: str) -> str:
        names = self._names()
        [*near] = difflib.get_close_matches(name, names, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return f"{self.deployment} has no method {name!r}.{hint} It has: {', '.join(names)}."

    def _names(self) -> list[str]:
        if self._is_function:
            return ["__call__"]
        names = [name for name in dir(self.instance) if not name.startswith("_")]
        found = [name for name in names if callable(getattr(self.instance, name, None))]
        return (["__call__"] if callable(self.instance) else []) + found


class _ItemBuffer:
    """A bounded buffer of items, from the thread that produces them to the loop that sends them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._items: deque[object] = deque()
        self._room = threading.Semaphore(_MAX_ITEMS_AHEAD)
        self._stopped = False
        self._ended = False
        self._wake_scheduled = False
        self._waiter: asyncio.Future[None] | None = None

    def produce(self, iterator: Iterator[object]) -> None:
        """Iterate until the end, an error or `stop`. Runs in the thread."""
        try:
            for item in iterator:
                self._items.append(item)
                self._notify()
                self._room.acquire()
                if self._stopped:
                    break
        finally:
            self._ended = True
            self._notify()
            close = getattr(iterator, "close", None)
            if close is not None:
                close()

    async def items(self) -> AsyncIterator[object]:
        """Yield items as they are produced. Runs on the loop."""
        while True:
            ended = self._ended
            while self._items:
                yield self._items.popleft()
                self._room.release()
            if ended:
                return
            self._waiter = self.loop.create_future()
            self._wake_scheduled = False
            if not self._items and not self._ended:
                await self._waiter

    def stop(self) -> None:
        self._stopped = True
        self._room.release()

    def _notify(self) -> None:
        if not self._wake_scheduled:
            self._wake_scheduled = True
            self.loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def is_iterator(value: object) -> bool:
    """Return whether a value is a sync or async iterator."""
    return hasattr(value, "__anext__") or hasattr(value, "__next__")


def _called_function(function: object) -> Any:
    """Return the function that a call of a callable runs: for an object, its `__call__`."""
    if inspect.isroutine(function):
        return function
    return getattr(function, "__call__", function)  # noqa: B004  an object with an async __call__


def _is_generator(function: object) -> bool:
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def _return_thread(
    loop: asyncio.AbstractEventLoop, counter: ThreadCounter, work: Future[Any]
) -> None:
    with contextlib.suppress(RuntimeError):  # the replica has ended before its thread
        loop.call_soon_threadsafe(counter.thread_returned)


async def _maybe_await(value: object) -> Any:
    return await value if inspect.isawaitable(value) else value


def _without_stop(function: Callable[..., object], *args: object, **kwargs: object) -> Any:
    try:
        return function(*args, **kwargs)
    except StopIteration as error:
        # No future can hold StopIteration. Coroutines convert it to RuntimeError, too.
        raise RuntimeError("the handler raised StopIteration") from error
