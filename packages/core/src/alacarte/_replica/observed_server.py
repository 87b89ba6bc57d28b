"""A replica's data server with an observer of its calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from .._wire.replica_connection import ReplicaStream
from ..errors import ErrorCode, request_code
from ..types import Call, DeploymentId, Outcome, ReplicaObserver, Reply, Service
from .data_server import DataServer

__all__ = ["ObservedServer"]

FailureCode = Callable[[Call, Reply], ErrorCode | None]


class _Running:
    """A running call, for its outcome."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.began = time.monotonic()
        self.first_part: float | None = None
        self.reply: Reply | None = None
        self.error: BaseException | None = None


class ObservedServer(DataServer):
    """A `DataServer` that reports its calls to an observer; made only if a plugin observes calls.

    Args:
        observer: The observer of one plugin, or of several together; raises nothing.
        failure_code: Returns the error code that a reply stands for.
    """

    def __init__(
        self,
        deployment: DeploymentId,
        services: Mapping[str, Service],
        max_ongoing: int,
        observer: ReplicaObserver,
        failure_code: FailureCode,
    ) -> None:
        super().__init__(deployment, services, max_ongoing)
        self._observer = observer
        self._failure_code = failure_code
        self._running: dict[int, _Running] = {}

    def accept(self, stream: ReplicaStream, call: Call) -> asyncio.Task[None] | None:
        task = super().accept(stream, call)
        if task is None:
            self._observer.rejected(call)
        return task

    async def _run(self, stream: ReplicaStream, call: Call) -> None:
        running = self._running[id(call)] = self._running[id(stream)] = _Running(call)
        self._observer.started(call)
        try:
            await super()._run(stream, call)
        finally:
            del self._running[id(call)], self._running[id(stream)]
            self._observer.ended(call, self._outcome(running))

    def _service(self, call: Call) -> Service:
        running = self._running[id(call)]

        async def serve(request: Call) -> Reply:
            try:
                running.reply = await DataServer._service(self, call)(request)
            except BaseException as error:  # any exception is the call's outcome
                running.error = error
                raise
            return running.reply

        return serve

    async def _stream(self, stream: ReplicaStream, reply: Reply) -> None:
        running = self._running[id(stream)]
        running.first_part = time.monotonic()
        self._observer.first_part(running.call)
        try:
            await super()._stream(stream, reply)
        except BaseException as error:
            running.error = error
            raise

    def _outcome(self, running: _Running) -> Outcome:
        total_s = time.monotonic() - running.began
        first = running.first_part
        first_s = None if first is None else first - running.began
        error = running.error
        if isinstance(error, asyncio.CancelledError):
            return Outcome("cancelled", ErrorCode.CANCELLED, "", first_s, total_s)
        if error is not None or running.reply is None:
            name = "" if error is None else type(error).__name__
            code = ErrorCode.INTERNAL if error is None else request_code(error)
            return Outcome("error", code, name, first_s, total_s)
        found = self._failure_code(running.call, running.reply)
        first_s = total_s if first_s is None else first_s
        return Outcome("success" if found is None else "error", found, "", first_s, total_s)
