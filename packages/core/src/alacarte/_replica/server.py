"""The replica's data plane: which calls are taken, and what becomes of each.

Runs on the replica's event loop. The limit on requests is enforced here, whoever asks: over it a
call is refused unstarted, and the refused are told when a slot frees.
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
from .eager import EagerTasks

__all__ = ["DataServer"]

log = logging.getLogger("alacarte.replica")
HANG_UP_S = 5.0
"""How long a replica that leaves waits for its callers to hang up, once it has no work."""


class DataServer:
    """Admits calls, runs them through the service of their protocol, sends what comes back.

    Attributes:
        ongoing: Calls being worked on.
        abandoned: Cancelled calls whose sync code still runs in its thread. They hold their slots,
            and nobody waits for them.
        max_ongoing: How many may be; a change applies to the next call.
        services: By protocol; a change applies to the next call.
        listener: Set before the first connection is accepted.
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
        # Tasks start from the replica's own context, not from that of a socket callback.
        self._context = contextvars.copy_context()
        self._draining = False
        self._refused: set[ServingConnection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle: asyncio.Event = asyncio.Event()
        self._idle.set()
        self._alone = asyncio.Event()

    # --- Acceptor -----------------------------------------------------------------------

    def accept(self, stream: ReplicaStream, call: Call) -> asyncio.Task[None] | None:
        if self._draining:
            stream.connection.send(Kind.GOAWAY, 0, 0)
            return None
        if self.ongoing + self.abandoned >= self.max_ongoing and not call.bypass_limit:
            self._refused.add(stream.connection)
            return None
        self.ongoing += 1
        self._tell_load()
        task = self._eager.start(self._run(stream, call), self._context.copy())
        if not task.done():
            self._tasks.add(task)
            # A task that is cancelled before its first step never gets into `_run`.
            task.add_done_callback(functools.partial(self._ended, stream))
        return task

    def hung_up(self, connection: ReplicaConnection) -> None:
        self._refused.discard(connection)
        if not self.listener.connections:
            self._alone.set()

    # --- Slots ----------------------------------------------------------------------------

    def thread_left(self) -> None:
        self.abandoned += 1
        self._tell_load()

    def thread_back(self) -> None:
        self.abandoned -= 1
        self._tell_load()
        self._tell_refused()

    # --- life ---------------------------------------------------------------------------

    async def drain(self) -> None:
        """Take no new call, tell every caller so, and return when nobody needs us any more.

        That is when no call is being worked on and the callers have hung up. Before they have
        heard, they may have sent more: it is refused, where a closed socket would leave them in
        doubt whether it has run.
        """
        self._draining = True
        self.listener.announce(Kind.GOAWAY)
        if self.ongoing:
            self._idle.clear()
            await self._idle.wait()
        if self.listener.connections:
            self._alone.clear()
            try:
                async with asyncio.timeout(HANG_UP_S):
                    await self._alone.wait()
            except TimeoutError:
                log.debug("%s: some callers did not hang up", self._deployment)

    async def cancel(self) -> None:
        """Cancel every call, and return when they have ended."""
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
                # The slot is free before the caller knows: its next call will find it so.
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
                else "CancelledError: the handler waited for something that was cancelled."
            )
            stream.fail(ServeError(f"{self._deployment}: {reason}"))
        except Exception as error:  # the user's code: every exception is an answer
            self._release(stream)
            self._log(call, error)
            stream.fail(error)
        except BaseException as error:
            # SystemExit and its like end a request, not the replica.
            self._release(stream)
            what = describe_error(error)
            stream.fail(InternalError(f"{self._deployment}: {what} was raised in a request."))
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
                f"{self._deployment} understands no calls of protocol {call.protocol!r}, only "
                f"{sorted(self.services)}. Is the package that gives it installed everywhere?"
            )
        return service

    def _release(self, stream: ReplicaStream) -> None:
        if stream.released:
            return
        stream.released = True
        self.ongoing -= 1
        self._tell_load()
        self._tell_refused()
        if not self.ongoing:
            self._idle.set()

    def _tell_refused(self) -> None:
        """A slot may be free: tell those who were refused one."""
        if self._refused and not self._draining:
            for connection in self._refused:
                connection.send(Kind.LOAD, 0, 0)
            self._refused.clear()

    def _ended(self, stream: ReplicaStream, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._release(stream)

    def _tell_load(self) -> None:
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
