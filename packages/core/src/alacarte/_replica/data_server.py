"""The replica's data server: accepts calls, runs them and sends their replies.

Runs on the replica's event loop. The server enforces `max_ongoing_requests` over all callers: above
the limit a call is rejected unstarted, and its caller is notified when a slot is free.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
from collections.abc import Mapping

from .._wire.error_codec import user_traceback
from .._wire.frames import MAX_LOAD, Kind
from .._wire.listener import Listener
from .._wire.replica_connection import ReplicaConnection, ReplicaStream
from .._wire.replica_stream import ServingConnection
from ..aio import close_iterator
from ..context import current_call
from ..errors import InternalError, NotFoundError, ServeError
from ..foreign import describe_error
from ..types import Call, DeploymentId, NestedCalls, Reply, Service
from .eager_tasks import EagerTasks

__all__ = ["DataServer"]

log = logging.getLogger("alacarte.replica")
HANG_UP_TIMEOUT_S = 5.0
"""Time that a drained replica waits for its callers to close their connections."""


class DataServer:
    """Accepts calls, runs each through the service of its protocol, and sends the replies.

    Attributes:
        ongoing: Number of calls in flight.
        abandoned: Number of cancelled calls whose sync code still runs in its thread, and which
            keep their slots.
        max_ongoing: Limit on both together; a change applies to the next call.
        services: Services by protocol; a change applies to the next call.
        listener: The listener; set before the first connection is accepted.
    """

    listener: Listener

    def __init__(
        self, deployment: DeploymentId, services: Mapping[str, Service], max_ongoing: int
    ) -> None:
        self.ongoing = 0
        self.abandoned = 0
        self.max_ongoing = max_ongoing
        self._deployment = deployment
        self.services = services
        self._eager = EagerTasks(asyncio.get_running_loop())
        # Tasks start in the replica's own context, not in that of a socket callback.
        self._context = contextvars.copy_context()
        self._draining = False
        self._rejected_callers: set[ServingConnection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle: asyncio.Event = asyncio.Event()
        self._idle.set()
        self._no_callers = asyncio.Event()

    # --- Acceptor -----------------------------------------------------------------------

    def accept(self, stream: ReplicaStream, call: Call) -> asyncio.Task[None] | None:
        if self._draining:
            stream.connection.send(Kind.GOAWAY, 0, 0)
            return None
        if self.ongoing + self.abandoned >= self.max_ongoing and not call.bypass_limit:
            self._rejected_callers.add(stream.connection)
            return None
        self.ongoing += 1
        self._publish_load()
        task = self._eager.start(self._run(stream, call), self._context.copy())
        if not task.done():
            self._tasks.add(task)
            # A task that is cancelled before its first step never enters `_run`.
            task.add_done_callback(functools.partial(self._ended, stream))
        return task

    def connection_ended(self, connection: ReplicaConnection) -> None:
        self._rejected_callers.discard(connection)
        if not self.listener.connections:
            self._no_callers.set()

    # --- ThreadCounter --------------------------------------------------------------------

    def thread_abandoned(self) -> None:
        self.abandoned += 1
        self._publish_load()

    def thread_returned(self) -> None:
        self.abandoned -= 1
        self._publish_load()
        self._notify_rejected()

    # --- drain --------------------------------------------------------------------------

    async def drain(self) -> None:
        """Send GOAWAY to every caller, and wait until no call is in flight and all callers left.

        Calls that cross with the GOAWAY are rejected. If the socket were closed instead, their
        callers could not know whether the calls have run.
        """
        self._draining = True
        self.listener.announce(Kind.GOAWAY)
        if self.ongoing:
            self._idle.clear()
            await self._idle.wait()
        if self.listener.connections:
            self._no_callers.clear()
            try:
                async with asyncio.timeout(HANG_UP_TIMEOUT_S):
                    await self._no_callers.wait()
            except TimeoutError:
                log.debug("%s: some callers did not close their connections", self._deployment)

    async def cancel(self) -> None:
        """Cancel every call, and wait until all have ended."""
        self._draining = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- one call -----------------------------------------------------------------------

    async def _run(self, stream: ReplicaStream, call: Call) -> None:
        call.nested = stream.nested = nested = NestedCalls()
        current_call.set(call)
        try:
            reply = await self._service(call)(call)
            if reply.rest is None:
                # The slot is freed before the reply is sent, so the caller's next call finds it.
                self._release(stream)
                stream.reply(reply)
            else:
                await self._stream(stream, reply)
                self._release(stream)
                stream.end()
        except asyncio.CancelledError:
            nested.cancel()
            self._release(stream)
            task = asyncio.current_task()
            reason = (
                "the replica is stopping."
                if task is None or task.cancelling()
                else "CancelledError: the handler awaited a task or future that was cancelled."
            )
            stream.fail(ServeError(f"{self._deployment}: {reason}"))
        except Exception as error:  # raised by user code, and sent as the reply
            self._release(stream)
            self._log(call, error)
            stream.fail(error)
        except BaseException as error:
            # SystemExit and KeyboardInterrupt end a request, not the replica.
            self._release(stream)
            description = describe_error(error)
            stream.fail(InternalError(f"{self._deployment}: a request raised {description}."))
        finally:
            nested.close()

    async def _stream(self, stream: ReplicaStream, reply: Reply) -> None:
        try:
            await stream.reply_streaming(reply)
        finally:
            await close_iterator(reply.rest)

    def _service(self, call: Call) -> Service:
        service = self.services.get(call.protocol)
        if service is None:
            raise NotFoundError(
                f"{self._deployment} does not know the call protocol {call.protocol!r}, only "
                f"{sorted(self.services)}. Install the package of that protocol on every node."
            )
        return service

    def _release(self, stream: ReplicaStream) -> None:
        if stream.released:
            return
        stream.released = True
        self.ongoing -= 1
        self._publish_load()
        self._notify_rejected()
        if not self.ongoing:
            self._idle.set()

    def _notify_rejected(self) -> None:
        """Send LOAD to the callers whose calls were rejected, because a slot may be free."""
        if self._rejected_callers and not self._draining:
            for connection in self._rejected_callers:
                connection.send(Kind.LOAD, 0, 0)
            self._rejected_callers.clear()

    def _ended(self, stream: ReplicaStream, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._release(stream)

    def _publish_load(self) -> None:
        load = self.ongoing + self.abandoned
        self.listener.load.ongoing = load if load < MAX_LOAD else MAX_LOAD

    def _log(self, call: Call, error: Exception) -> None:
        if not isinstance(error, ServeError):
            log.error(
                "%s.%s failed, request %s\n%s",
                self._deployment,
                call.method,
                call.request_id,
                user_traceback(error),
            )
