"""The response of a broadcast: one result from each replica."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from typing import Any, NoReturn

from alacarte.calls import python_result
from alacarte.context import current_call
from alacarte.errors import DeadlineExceededError, RequestCancelledError, ServeError
from alacarte.types import Call, DeploymentId, Reply, Runtime

__all__ = ["DeploymentBroadcastResponse"]


class DeploymentBroadcastResponse:
    """The response of `DeploymentHandle.broadcast`: one result for each replica, in any order."""

    def __init__(self, runtime: Runtime, deployment: DeploymentId, call: Call) -> None:
        self.request_id = call.request_id
        self._cancelled = False
        self._runtime = runtime
        self._future: concurrent.futures.Future[list[Reply | BaseException]] = runtime.submit(
            _within_time(runtime, deployment, call)
        )
        parent = current_call.get()
        if parent is not None and parent.nested is not None:
            parent.nested.add(self._future)
            self._future.add_done_callback(parent.nested.discard)

    def results(self, timeout_s: float | None = None, return_exceptions: bool = False) -> list[Any]:
        """Wait for every replica and return the results.

        Args:
            timeout_s: Most seconds to wait. The calls go on afterwards.
            return_exceptions: Return an exception as the result of its replica, instead of raising
                the first one.

        Raises:
            DeploymentUnavailableError: No replica runs.
            TimeoutError: A replica did not answer in time.
            RuntimeError: An event loop runs in this thread; await `results_async` instead.
        """
        if asyncio._get_running_loop() is not None:
            raise RuntimeError(
                "results() would block the event loop that runs here: `await results_async()` "
                "instead."
            )
        try:
            replies = self._future.result(timeout_s)
        except concurrent.futures.CancelledError:
            raise RequestCancelledError(self.request_id) from None
        return _values(replies, return_exceptions)

    async def results_async(
        self, timeout_s: float | None = None, return_exceptions: bool = False
    ) -> list[Any]:
        """Wait for the results, as `results` does, on any event loop."""
        waiting = asyncio.shield(asyncio.wrap_future(self._future))
        try:
            async with asyncio.timeout(timeout_s):
                replies = await waiting
        except asyncio.CancelledError:
            if self._cancelled:
                raise RequestCancelledError(self.request_id) from None
            raise
        return _values(replies, return_exceptions)

    def cancel(self) -> None:
        """Cancel the calls at every replica."""
        self._cancelled = True
        self._future.cancel()

    def cancelled(self) -> bool:
        """Return whether `cancel` was called on this response."""
        return self._cancelled

    def __reduce__(self) -> NoReturn:
        raise ServeError("the response of a broadcast cannot be pickled; send its results instead.")


async def _within_time(
    runtime: Runtime, deployment: DeploymentId, call: Call
) -> list[Reply | BaseException]:
    limit = None if call.deadline is None else max(call.deadline - time.monotonic(), 0)
    try:
        async with asyncio.timeout(limit) as scope:
            return await runtime.broadcast(deployment, call)
    except TimeoutError:
        if not scope.expired():
            raise
        raise DeadlineExceededError(str(deployment), call.timeout_s or 0.0) from None


def _values(replies: list[Reply | BaseException], return_exceptions: bool) -> list[object]:
    if not return_exceptions:
        for reply in replies:
            if isinstance(reply, BaseException):
                raise reply
    return [each if isinstance(each, BaseException) else python_result(each) for each in replies]
