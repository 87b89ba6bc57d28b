"""The user's object: construct it, find its callables, run them where they belong.

Async code runs on the replica's event loop, sync code in a thread pool with one thread for each
request the replica accepts; so sync handlers run concurrently and must be safe for it.
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
from ..foreign import disarm_destructor, is_cancellation, ordinary
from ..types import DeploymentId, Method

__all__ = ["UserObject", "is_iterator"]

_AHEAD = 128
"""Items a sync generator may produce before they are sent."""


class Slots(Protocol):
    """Counts the threads that nobody waits for any more, and that are still at work."""

    def thread_left(self) -> None:
        """The request of a busy thread was cancelled. On the loop."""

    def thread_back(self) -> None:
        """That thread is free again. On the loop."""


class UserObject:
    """The user's class instance or function, as a `Served`.

    Args:
        deployment: Whose it is.
        target: The user's class or function.
        is_function: Use `target` itself, and `__call__` for its only method.
        threads: Size of the thread pool.

    Attributes:
        slots: Told of threads at work for nobody; set before requests come.
    """

    slots: Slots | None = None

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

    async def construct(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Run the constructor on the event loop; an `async def __init__` is awaited."""
        if self._is_function:
            return
        self.instance = self._target.__new__(self._target, *args, **kwargs)
        await _maybe_await(self.instance.__init__(*args, **kwargs))

    async def reconfigure(self, user_config: Any) -> None:
        """Hand `user_config` to the user's `reconfigure`.

        Raises:
            ConfigError: There is no such method.
        """
        method = getattr(self.instance, "reconfigure", None)
        if self._is_function or method is None:
            raise ConfigError(
                f"{self.deployment}: user_config is set, which needs a class with a method "
                "reconfigure(self, user_config)."
            )
        await _maybe_await(method(user_config))

    def resize(self, threads: int) -> None:
        """Run sync code in that many threads from now on."""
        before, self._pool = self._pool, self._new_pool(threads)
        before.shutdown(wait=False)

    @property
    def checks_itself(self) -> bool:
        """There is a `check_health` of the user's."""
        return not self._is_function and hasattr(self.instance, "check_health")

    async def check_health(self) -> None:
        """Run the user's `check_health`, where there is one; it raises when unhealthy.

        A check that is still running answers everybody who asks meanwhile: one that hangs must
        not gather a thread or a task for each question.
        """
        if not self.checks_itself:
            return
        if self._check is None or self._check.done():
            self._check = asyncio.get_running_loop().create_task(self._run_check())
            self._check.add_done_callback(mark_retrieved)
        await asyncio.shield(self._check)

    async def _run_check(self) -> None:
        """Run one check: async code on the event loop, sync code in a thread of its own.

        Not in the pool, whose threads may all be busy with requests.
        """
        check = self.instance.check_health
        if inspect.iscoroutinefunction(check):
            try:
                await check()
            except BaseException as error:  # it would leave this task, and stop the event loop
                if is_cancellation(error):
                    raise
                raise ordinary(error) from error
            return
        call = functools.partial(contextvars.copy_context().run, _without_stop, check)
        work = run_in_daemon_thread(call, f"{self.deployment.name}-check")
        await _maybe_await(await asyncio.wrap_future(work))

    async def close(self) -> None:
        """Run the user's `__del__`, once, and end the threads that are idle."""
        if self._check is not None:
            self._check.cancel()
        destructor = None if self._is_function else getattr(self.instance, "__del__", None)
        try:
            if destructor is not None:
                await _maybe_await(destructor())
        except BaseException as error:
            if is_cancellation(error):
                raise
            raise ordinary(error) from error
        finally:
            if destructor is not None:
                disarm_destructor(self.instance)
            self._pool.shutdown(wait=False, cancel_futures=True)

    # --- Served -------------------------------------------------------------------------

    def method(self, name: str) -> Method:
        found = self._methods.get(name)
        if found is None:
            found = self._methods[name] = self._look_up(name)
        return found

    async def in_thread(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        context = contextvars.copy_context()
        call = functools.partial(context.run, _without_stop, function, *args, **kwargs)
        work = self._pool.submit(call)
        try:
            result = await asyncio.wrap_future(work)
        except asyncio.CancelledError:
            self._left(work)
            raise
        # A sync function may hand back a coroutine it made.
        return await result if inspect.iscoroutine(result) else result

    async def invoke(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        entry = self.method(method)
        if entry.is_generator:
            result = entry.function(*args, **kwargs)
            if inspect.iscoroutine(result):  # of an async function that wraps the generator
                result = await result
        elif entry.is_async:
            result = await entry.function(*args, **kwargs)
        else:
            result = await self.in_thread(entry.function, *args, **kwargs)
        return self.iterate(result) if is_iterator(result) else result

    def iterate(self, generator: Any) -> AsyncIterator[Any]:
        if hasattr(generator, "__anext__"):
            found: AsyncIterator[Any] = generator
            return found
        return self._iterate_sync(iter(generator))

    async def _iterate_sync(self, iterator: Iterator[Any]) -> AsyncIterator[Any]:
        """Run a sync generator in one thread, a bounded number of items ahead."""
        ahead = _Ahead(asyncio.get_running_loop())
        context = contextvars.copy_context()
        work = self._pool.submit(context.run, ahead.produce, iterator)
        # At once, since a generator that was cancelled before it began never ends otherwise.
        running = asyncio.wrap_future(work)
        running.add_done_callback(mark_retrieved)
        try:
            async for item in ahead.items():
                yield item
            await running
        finally:
            ahead.stop()
            running.cancel()
            self._left(work)

    def _left(self, work: Future[Any]) -> None:
        """Nobody waits for this any more. Unless it has ended or never begins, it has its thread.

        So it has its slot as well: a call taken now would wait for a thread.
        """
        slots = self.slots
        if slots is not None and not work.cancel() and not work.done():
            loop = asyncio.get_running_loop()
            slots.thread_left()
            work.add_done_callback(functools.partial(_back, loop, slots))

    def _new_pool(self, threads: int) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(threads, thread_name_prefix=f"{self.deployment.name}-handler")

    def _look_up(self, name: str) -> Method:
        if self._is_function and name == "__call__":
            function = self.instance
        else:
            function = getattr(self.instance, name, None)
        if not callable(function) or (self._is_function and name != "__call__"):
            raise NotFoundError(self._no_method(name))
        # The outermost counts: a decorator may collect what the generator inside of it yields.
        outer = _called(function)
        kind = outer if inspect.ismethod(function) else _called(inspect.unwrap(function))
        is_async = any(map(inspect.iscoroutinefunction, (outer, kind)))
        # `batch` gives an async generator out of a plain function, which needs the event loop.
        gives_async = not is_async and inspect.isasyncgenfunction(inspect.unwrap(kind))
        return Method(function, is_async, _is_generator(outer) or gives_async)

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


class _Ahead:
    """Items on their way from the thread that produces them to the loop that sends them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._items: deque[Any] = deque()
        self._room = threading.Semaphore(_AHEAD)
        self._stopped = False
        self._ended = False
        self._wake_scheduled = False
        self._waiter: asyncio.Future[None] | None = None

    def produce(self, iterator: Iterator[Any]) -> None:
        """In the thread: take items until the end, an error, or `stop`."""
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

    async def items(self) -> AsyncIterator[Any]:
        """On the loop: yield items as they come."""
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


def is_iterator(value: Any) -> bool:
    """Whether a value gives items one after the other, sync or async."""
    return hasattr(value, "__anext__") or hasattr(value, "__next__")


def _called(function: Any) -> Any:
    """Return what runs when a callable is called: of an object, its `__call__`."""
    if inspect.isroutine(function):
        return function
    return getattr(function, "__call__", function)  # noqa: B004  an object with an async __call__


def _is_generator(function: Any) -> bool:
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def _back(loop: asyncio.AbstractEventLoop, slots: Slots, work: Future[Any]) -> None:
    with contextlib.suppress(RuntimeError):  # the replica has ended before its thread
        loop.call_soon_threadsafe(slots.thread_back)


async def _maybe_await(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def _without_stop(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return function(*args, **kwargs)
    except StopIteration as error:
        # No future can hold it, so its waiter would wait for ever. Coroutines do the same.
        raise RuntimeError("the handler raised StopIteration") from error
