"""The responses of calls: a future result, or a stream of items.

A call runs on the runtime's loop. Code on that loop, such as a replica's async handler, waits for
the call's task; other code waits for a future that the loop's thread completes.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Coroutine, Generator, Iterator
from typing import Any, NoReturn

from alacarte.aio import TaskSet, close_iterator, mark_retrieved
from alacarte.calls import python_result, python_value
from alacarte.errors import RequestCancelledError, ServeError
from alacarte.types import Buffer, Message, NestedCalls, Reply, Runtime

from ._eager_call import EagerCall, Step
from ._not_a_result import NotAResult

__all__ = ["DeploymentResponse", "DeploymentResponseGenerator"]


class _Pending:
    """A call in flight.

    Args:
        runtime: The runtime on whose loop the call runs.
        work: Makes the call.
        request_id: Id of the request.
        eager: `work` may run as an `EagerCall`.
        nested: The nested calls of the current request, which cancels this call when cancelled.
    """

    # No `__dict__`, which web frameworks would serialize.
    __slots__ = (
        "__weakref__", "_cancelled", "_future", "_has_result", "_request_id", "_result", "_runtime",
        "_task",
    )  # fmt: skip

    by_reference = False
    """Results travel by value; an attribute of Ray Serve's responses."""

    def __init__(
        self,
        runtime: Runtime,
        work: Coroutine[Step, None, Reply],
        request_id: str,
        *,
        eager: bool = False,
        nested: NestedCalls | None = None,
    ) -> None:
        self._runtime = runtime
        self._request_id = request_id
        self._cancelled = False
        self._result: object = None
        self._has_result = False
        self._task: asyncio.Task[Reply] | EagerCall[Reply] | None = None
        self._future: concurrent.futures.Future[Reply] | None = None
        running: asyncio.Task[Reply] | concurrent.futures.Future[Reply]
        if asyncio._get_running_loop() is runtime.loop:
            if eager:
                self._task = EagerCall(work, runtime.loop, nested)
                return
            self._task = running = runtime.loop.create_task(work)
            running.add_done_callback(mark_retrieved)
        else:
            self._future = running = runtime.submit(work)
        if nested is not None:
            nested.add(running)
            running.add_done_callback(nested.discard)

    @property
    def request_id(self) -> str:
        """Id of the request, for logs; nested calls have the same id."""
        return self._request_id

    def cancel(self) -> None:
        """Cancel the call. Waiting for the response then raises `RequestCancelledError`."""
        self._cancelled = True
        if self._task is not None:
            self._runtime.loop.call_soon_threadsafe(self._task.cancel)
        elif self._future is not None:
            self._future.cancel()

    def cancelled(self) -> bool:
        """Return whether `cancel` was called on this response."""
        return self._cancelled

    async def _reply(self) -> Reply:
        """Wait for the reply, on any loop. A waiter that is cancelled cancels the call."""
        try:
            if self._task is not None and asyncio.get_running_loop() is self._runtime.loop:
                return await self._task
            return await asyncio.wrap_future(self._ensure_future())
        except (asyncio.CancelledError, concurrent.futures.CancelledError):
            raise self._cancellation() from None

    def _reply_sync(self, timeout_s: float | None) -> Reply:
        """Wait for the reply, in a thread without a running loop."""
        if asyncio._get_running_loop() is not None:
            raise RuntimeError(
                "result() would block the event loop that runs here: await the response instead."
            )
        try:
            return self._ensure_future().result(timeout_s)
        except concurrent.futures.CancelledError:
            # By `cancel`, or with the current request: a thread itself cannot be cancelled.
            raise RequestCancelledError(self._request_id) from None

    def _cancellation(self) -> BaseException:
        if self._cancelled:
            return RequestCancelledError(self._request_id)
        return asyncio.CancelledError()

    def _ensure_future(self) -> concurrent.futures.Future[Reply]:
        if self._future is None:
            assert self._task is not None
            self._future = self._runtime.submit(_join(self._task))
        return self._future

    async def _to_object_ref(self) -> NoReturn:
        raise _no_reference()

    def _to_object_ref_sync(self, *args: object, **kwargs: object) -> NoReturn:
        raise _no_reference()

    def __reduce__(self) -> NoReturn:
        raise ServeError(
            "a response cannot be pickled inside another value; pass the response itself as an "
            "argument of a handle's remote(), or wait for its result first."
        )


class DeploymentResponse(NotAResult, _Pending):
    """The future result of a call.

    Await the response, or call `result()` where no event loop runs, any number of times. A response
    may be an argument of another handle's `remote`, which then gets the result.
    """

    __slots__ = ()

    def __await__(self) -> Generator[object, None, Any]:
        if not self._has_result:
            if self._task is not None and asyncio._get_running_loop() is self._runtime.loop:
                # The path of every call inside a replica, without a coroutine in between.
                try:
                    reply = yield from self._task.__await__()
                except asyncio.CancelledError:
                    raise self._cancellation() from None
            else:
                reply = yield from self._reply().__await__()
            self._set_result(reply)
        return self._result

    def result(self, *, timeout_s: float | None = None, _skip_asyncio_check: bool = False) -> Any:
        """Wait for the result and return it.

        Args:
            timeout_s: Most seconds to wait. The request goes on afterwards.

        Raises:
            TimeoutError: The result did not arrive in time.
            RuntimeError: An event loop runs in this thread; await the response instead.
        """
        if not self._has_result:
            self._set_result(self._reply_sync(timeout_s))
        return self._result

    def _set_result(self, reply: Reply) -> None:
        self._result = python_result(reply)
        self._has_result = True


class DeploymentResponseGenerator(_Pending):
    """The items of a streaming call, one by one as they are produced.

    Iterate with `async for`, or with `for` where no event loop runs. `aclose()`, `cancel()` and
    dropping the response end the generator in the replica.
    """

    __slots__ = ("_is_closed", "_items", "_source")

    def __init__(
        self,
        runtime: Runtime,
        work: Coroutine[Step, None, Reply],
        request_id: str,
        *,
        eager: bool = False,
        nested: NestedCalls | None = None,
    ) -> None:
        self._is_closed = True
        self._source = _StreamSource(runtime, nested)
        self._items: deque[Buffer] = deque()
        # Never eager: closing the stream early cancels the task that opens it.
        super().__init__(runtime, self._source.open(work), request_id)
        if nested is not None:
            nested.add(self._source)
        self._is_closed = False

    def __await__(self) -> NoReturn:
        raise TypeError("a streaming response has no single result: iterate it with `async for`.")

    def result(self, *, timeout_s: float | None = None) -> NoReturn:
        raise TypeError("a streaming response has no single result: iterate it with `for`.")

    def _to_object_ref_gen(self, *args: object, **kwargs: object) -> NoReturn:
        raise _no_reference()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        while not self._items:
            if asyncio.get_running_loop() is not self._runtime.loop:
                more = await asyncio.wrap_future(self._runtime.submit(self._fetch()))
            else:
                more = await self._fetch()
            if not more:
                raise StopAsyncIteration
        return python_value(self._items.popleft())

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        while not self._items:
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
        return python_value(self._items.popleft())

    def cancel(self) -> None:
        """Cancel the call. Reading further items then raises `RequestCancelledError`."""
        self._cancelled = True
        self._close()

    async def aclose(self) -> None:
        """Stop reading; the generator in the replica is closed."""
        self._close()

    def __del__(self) -> None:
        if not self._is_closed:
            self._close()

    def _close(self) -> None:
        self._is_closed = True
        self._items.clear()
        self._source.close_soon()

    @property
    def _is_over(self) -> bool:
        return self._is_closed or self._source.cancelled

    async def _fetch(self) -> bool:
        """Wait for an item, and take all items that arrived with it. Runs on the runtime's loop.

        The items are stored at once, so a reader that is cancelled meanwhile loses none.

        Returns:
            False at the end.
        """
        if not self._is_closed:
            try:
                if self._source.rest is None:
                    await self._reply()
                return await self._receive_items()
            except asyncio.CancelledError:
                # The stream was closed; otherwise the reader was cancelled.
                if not self._is_over:
                    raise
            except Exception:
                self._source.ended()
                raise
        if self._cancelled or self._source.cancelled:
            raise RequestCancelledError(self._request_id)
        return False

    async def _receive_items(self) -> bool:
        rest = self._source.rest
        assert rest is not None, "a streaming call got a single result"
        try:
            message = await anext(rest)
        except StopAsyncIteration:
            if self._cancelled or self._source.cancelled:
                raise RequestCancelledError(self._request_id) from None
            self._is_closed = True
            self._source.ended()
            return False
        self._items.append(message[0])
        ready = getattr(rest, "ready", None)
        if ready is not None:
            self._items.extend(ready())
        return True


class _StreamSource:
    """The source of a stream's items, on the runtime's loop.

    Apart from the response and without a reference to it, since dropping the response ends the
    stream.

    Attributes:
        rest: The items; None before the reply begins.
        cancelled: The request that opened the stream was cancelled.
    """

    def __init__(self, runtime: Runtime, nested: NestedCalls | None) -> None:
        self.rest: AsyncIterator[Message] | None = None
        self.cancelled = False
        self._runtime = runtime
        self._nested = nested
        self._is_closed = False
        self._opening: asyncio.Task[Reply] | None = None

    async def open(self, work: Coroutine[Step, None, Reply]) -> Reply:
        """Make the call, unless the stream was closed before."""
        if self._is_closed:
            work.close()
            raise asyncio.CancelledError
        self._opening = asyncio.current_task()
        reply = await work
        self.rest = reply.rest
        return reply

    def cancel(self) -> None:
        """End the stream with the cancelled request that opened it. Thread-safe."""
        self.cancelled = True
        self.close_soon()

    def close_soon(self) -> None:
        """Close the stream on the runtime's loop. Thread-safe."""
        try:
            self._runtime.loop.call_soon_threadsafe(self.close)
        except RuntimeError:  # the loop is closed, and every stream with it
            pass

    def ended(self) -> None:
        """Remove the stream from the request's nested calls, at its end."""
        if self._nested is not None:
            self._nested.discard(self)

    def close(self) -> None:
        """Close the stream: cancel its opening, or the rest of its items."""
        self._is_closed = True
        self.ended()
        if self.rest is None:
            if self._opening is not None:
                self._opening.cancel()
            return
        _closing.start(close_iterator(self.rest))


_closing = TaskSet()
"""Tasks that close streams."""


def _no_reference() -> ServeError:
    return ServeError(
        "a result travels by value from replica to caller and has no object reference. Pass the "
        "response itself to another handle's remote(), or call ray.put with its result."
    )


async def _join(task: Awaitable[Reply]) -> Reply:
    return await asyncio.shield(task)
