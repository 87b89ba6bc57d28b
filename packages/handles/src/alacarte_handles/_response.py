"""What a call gives back: a result to come, or items to come.

The work runs on the runtime's loop. Code on that loop (a replica's async handlers) waits for its
task directly; code elsewhere waits for a future that the loop's thread completes.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Coroutine, Generator, Iterator
from typing import Any

from alacarte.aio import TaskSet, close_iterator, mark_retrieved
from alacarte.calls import python_result, python_value
from alacarte.errors import RequestCancelledError, ServeError
from alacarte.types import Buffer, Message, NestedCalls, Reply, Runtime

from ._eager_call import EagerCall
from ._not_a_result import NotAResult

__all__ = ["DeploymentResponse", "DeploymentResponseGenerator"]


class _Pending:
    """A call under way.

    Args:
        runtime: Whose loop it runs on.
        work: Makes the call.
        request_id: "" when it is not known yet.
        at_once: `work` may be begun here and carried on by whoever awaits it; see `EagerCall`.
        nested: Of the request this call is made in; it cancels the call when it is cancelled.
    """

    # Not in a `__dict__`, which frameworks take for what an object has to say of itself.
    __slots__ = (
        "__weakref__", "_cancelled", "_future", "_has_result", "_request_id", "_result", "_runtime",
        "_task",
    )  # fmt: skip

    by_reference = False
    """Results always travel by value; Ray Serve asks."""

    def __init__(
        self,
        runtime: Runtime,
        work: Coroutine[Any, Any, Reply],
        request_id: str,
        *,
        at_once: bool = False,
        nested: NestedCalls | None = None,
    ) -> None:
        self._runtime = runtime
        self._request_id = request_id
        self._cancelled = False
        self._result: Any = None
        self._has_result = False
        self._task: asyncio.Task[Reply] | EagerCall[Reply] | None = None
        self._future: concurrent.futures.Future[Reply] | None = None
        if asyncio._get_running_loop() is runtime.loop:
            if at_once:
                self._task = EagerCall(work, runtime.loop, nested)
                return
            self._task = runtime.loop.create_task(work)
            self._task.add_done_callback(mark_retrieved)
        else:
            self._future = runtime.submit(work)
        if nested is not None:
            begun: Any = self._task or self._future
            nested.add(begun)
            begun.add_done_callback(nested.discard)

    @property
    def request_id(self) -> str:
        """The id of the request, which nested calls take over; logs show it."""
        return self._request_id

    def cancel(self) -> None:
        """Give the call up. Waiting for it raises `RequestCancelledError` from now on."""
        self._cancelled = True
        if self._task is not None:
            self._runtime.loop.call_soon_threadsafe(self._task.cancel)
        elif self._future is not None:
            self._future.cancel()

    def cancelled(self) -> bool:
        """Whether `cancel` was called here."""
        return self._cancelled

    async def _reply(self) -> Reply:
        """Wait on any loop. A waiter that is cancelled cancels the call."""
        try:
            if self._task is not None and asyncio.get_running_loop() is self._runtime.loop:
                return await self._task
            return await asyncio.wrap_future(self._as_future())
        except (asyncio.CancelledError, concurrent.futures.CancelledError):
            raise self._cancellation() from None

    def _reply_sync(self, timeout_s: float | None) -> Reply:
        """Wait in a thread without a running loop."""
        if asyncio._get_running_loop() is not None:
            raise RuntimeError(
                "result() would block the event loop that runs here: await the response instead."
            )
        try:
            return self._as_future().result(timeout_s)
        except concurrent.futures.CancelledError:
            # By `cancel`, or with the request it was made in: a thread is not cancelled itself.
            raise RequestCancelledError(self._request_id) from None

    def _cancellation(self) -> BaseException:
        if self._cancelled:
            return RequestCancelledError(self._request_id)
        return asyncio.CancelledError()

    def _as_future(self) -> concurrent.futures.Future[Reply]:
        if self._future is None:
            assert self._task is not None
            self._future = self._runtime.submit(_join(self._task))
        return self._future

    async def _to_object_ref(self) -> Any:
        raise _no_reference()

    def _to_object_ref_sync(self, *args: Any, **kwargs: Any) -> Any:
        raise _no_reference()

    def __reduce__(self) -> Any:
        raise ServeError(
            "a response cannot be sent elsewhere inside another value; pass it as an argument of "
            "a handle's remote() by itself, or wait for its result first."
        )


class DeploymentResponse(NotAResult, _Pending):
    """The result of a call, to come.

    `await` it, or call `result()` where no event loop runs; both may be done again. Passed as an
    argument to another handle's `remote`, its result arrives there.
    """

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, Any]:
        if not self._has_result:
            if self._task is not None and asyncio._get_running_loop() is self._runtime.loop:
                # The way of every call inside a replica, without a coroutine in between.
                try:
                    reply = yield from self._task.__await__()
                except asyncio.CancelledError:
                    raise self._cancellation() from None
            else:
                reply = yield from self._reply().__await__()
            self._keep(reply)
        return self._result

    def result(self, *, timeout_s: float | None = None, _skip_asyncio_check: bool = False) -> Any:
        """Wait for the result and return it.

        Args:
            timeout_s: How long to wait, in seconds. The request goes on afterwards.

        Raises:
            TimeoutError: It did not come in time.
            RuntimeError: An event loop runs in this thread; await the response instead.
        """
        if not self._has_result:
            self._keep(self._reply_sync(timeout_s))
        return self._result

    def _keep(self, reply: Reply) -> None:
        self._result = python_result(reply)
        self._has_result = True


class DeploymentResponseGenerator(_Pending):
    """The items of a call, one by one as they are produced.

    Iterate it with `async for`, or with `for` where no event loop runs. Leaving early with
    `aclose()`, `cancel()` or by dropping it ends the generator in the replica.
    """

    __slots__ = ("_left", "_source", "_taken")

    def __init__(
        self,
        runtime: Runtime,
        work: Coroutine[Any, Any, Reply],
        request_id: str,
        *,
        at_once: bool = False,
        nested: NestedCalls | None = None,
    ) -> None:
        self._left = True
        self._source = _Source(runtime, nested)
        self._taken: deque[Buffer] = deque()
        # In a task of its own, always: leaving the stream early cancels whatever opens it.
        super().__init__(runtime, self._source.open(work), request_id)
        if nested is not None:
            nested.add(self._source)
        self._left = False

    def __await__(self) -> Generator[Any, Any, Any]:
        raise TypeError("a streaming response has no single result: iterate it with `async for`.")

    def result(self, *, timeout_s: float | None = None) -> Any:
        raise TypeError("a streaming response has no single result: iterate it with `for`.")

    def _to_object_ref_gen(self, *args: Any, **kwargs: Any) -> Any:
        raise _no_reference()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        while not self._taken:
            if asyncio.get_running_loop() is not self._runtime.loop:
                more = await asyncio.wrap_future(self._runtime.submit(self._fetch()))
            else:
                more = await self._fetch()
            if not more:
                raise StopAsyncIteration
        return python_value(self._taken.popleft())

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        while not self._taken:
            if asyncio._get_running_loop() is not None:
                raise RuntimeError(
                    "the next item would block the event loop that runs here: use `async for`."
                )
            try:
                more = self._runtime.submit(self._fetch()).result()
            except concurrent.futures.CancelledError:
                raise RequestCancelledError(self._request_id) from None
            if not more:
                raise StopIteration
        return python_value(self._taken.popleft())

    def cancel(self) -> None:
        """Give the call up. Reading on raises `RequestCancelledError` from now on."""
        self._cancelled = True
        self._leave()

    async def aclose(self) -> None:
        """Stop reading; the generator in the replica is closed."""
        self._leave()

    def __del__(self) -> None:
        if not self._left:
            self._leave()

    def _leave(self) -> None:
        self._left = True
        self._taken.clear()
        self._source.leave_soon()

    @property
    def _is_over(self) -> bool:
        return self._left or self._source.cancelled

    async def _fetch(self) -> bool:
        """On the runtime's loop: wait for an item, and take all that came with it.

        They are kept here at once, so that a reader who is cancelled meanwhile loses none.

        Returns:
            False at the end.
        """
        if not self._left:
            try:
                if self._source.rest is None:
                    await self._reply()
                return await self._take()
            except asyncio.CancelledError:
                # The stream's end, when it was left; otherwise the end of who reads.
                if not self._is_over:
                    raise
            except Exception:
                self._source.ended()
                raise
        if self._cancelled or self._source.cancelled:
            raise RequestCancelledError(self._request_id)
        return False

    async def _take(self) -> bool:
        rest = self._source.rest
        assert rest is not None, "a streaming call was answered with a single result"
        try:
            message = await anext(rest)
        except StopAsyncIteration:
            if self._cancelled or self._source.cancelled:
                raise RequestCancelledError(self._request_id) from None
            self._left = True
            self._source.ended()
            return False
        self._taken.append(message[0])
        ready = getattr(rest, "ready", None)
        if ready is not None:
            self._taken.extend(ready())
        return True


class _Source:
    """Where the items of a stream come from, on the runtime's loop.

    Not a part of the response, which nothing here may keep alive: dropping it ends the stream.

    Attributes:
        rest: The items, once the call has been answered.
        cancelled: The request in which the stream was opened has been cancelled.
    """

    def __init__(self, runtime: Runtime, nested: NestedCalls | None) -> None:
        self.rest: AsyncIterator[Message] | None = None
        self.cancelled = False
        self._runtime = runtime
        self._nested = nested
        self._left = False
        self._opening: asyncio.Task[Any] | None = None

    async def open(self, work: Coroutine[Any, Any, Reply]) -> Reply:
        """Make the call, unless the stream has been left already."""
        if self._left:
            work.close()
            raise asyncio.CancelledError
        self._opening = asyncio.current_task()
        reply = await work
        self.rest = reply.rest
        return reply

    def cancel(self) -> None:
        """The request it belongs to was cancelled. From any thread."""
        self.cancelled = True
        self.leave_soon()

    def leave_soon(self) -> None:
        """End the stream, from any thread."""
        try:
            self._runtime.loop.call_soon_threadsafe(self.leave)
        except RuntimeError:  # the loop is closed, and every stream with it
            pass

    def ended(self) -> None:
        """Nothing comes any more."""
        if self._nested is not None:
            self._nested.discard(self)

    def leave(self) -> None:
        """End the stream, wherever it is."""
        self._left = True
        self.ended()
        if self.rest is None:
            if self._opening is not None:
                self._opening.cancel()
            return
        _closing.start(close_iterator(self.rest))


_closing = TaskSet()
"""Streams that are being closed."""


def _no_reference() -> ServeError:
    return ServeError(
        "results of alacarte travel by value, straight from replica to caller: there is no object "
        "reference. Pass the response itself to another handle's remote(), or ray.put its result."
    )


async def _join(task: Awaitable[Reply]) -> Reply:
    return await asyncio.shield(task)
