"""A call of an ASGI application, in a task of its own, with the response as a `Reply`.

A response that the application sends at once becomes one reply. If no part of the body follows the
head within a few iterations of the event loop, the head is sent alone, since a client may act on
the status. The reader of a longer response limits the application to `MAX_AHEAD_BYTES`. Parts that
the application sends while the reader is busy leave together, because a handover costs more than
the part. After its last message the application runs on, for example with background tasks.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Scope
from starlette.types import Message as ASGIMessage

from alacarte.aio import TaskSet, wake
from alacarte.errors import RemoteError
from alacarte.types import Call, Message, Reply, UserCallable

from .._head_codec import pack_response, unpack_response
from .failure_log import begin_at_user, log_failure
from .received_body import ReceivedBody

__all__ = ["ASGIExchange", "RequestDisconnected"]

log = logging.getLogger("alacarte.replica")
DISCONNECT_GRACE_S = 0.1
"""Time for an application that awaits `http.disconnect` to end before it is cancelled."""
MAX_AHEAD_BYTES = 64 * 1024
MAX_AHEAD_PARTS = 256
"""Limits of the parts that wait for the reader of a response."""
HEAD_ITERATIONS = 4
"""Iterations of the event loop for the body to follow its head: each `BaseHTTPMiddleware` of
Starlette needs one or two to pass on a part."""

_START, _BODY = "http.response.start", "http.response.body"


class RequestDisconnected(OSError):
    """The application sends to a client that has disconnected."""


class ASGIExchange:
    """A request and its response, and the `rest` of the reply if the response is a stream.

    Not a generator: closing a generator that has not started would not end the application.

    Args:
        finish: Awaited when the application ends, even by an exception.

    Attributes:
        on_ready: Called when a part arrives for a reader that awaits it (`ReadyMessages`).
    """

    __slots__ = (
        "_app", "_call", "_complete", "_error", "_finish", "_finished", "_head", "_is_disconnected",
        "_loop", "_parts", "_parts_bytes", "_reader", "_receive", "_reply", "_scope", "_sender",
        "_status", "_streaming", "_task", "_user_callable", "on_ready",
    )  # fmt: skip

    def __init__(
        self,
        app: ASGIApp,
        scope: Scope,
        receive: ReceivedBody,
        user_callable: UserCallable,
        call: Call,
        finish: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._app = app
        self._scope = scope
        self._receive = receive
        self._user_callable = user_callable
        self._call = call
        self._finish = finish
        self.on_ready: Callable[[], None] | None = None
        self._loop = asyncio.get_running_loop()
        self._status = 0
        self._head: bytes | None = None
        self._reply: Reply | None = None
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self._streaming = False  # the reader takes the body part by part
        self._complete = False  # the last message of the response has been sent
        self._finished = False  # the application has ended
        self._is_disconnected = False  # the client has
        self._error: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._sender: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    async def reply(self) -> Reply:
        """Run the application until its response, or the beginning of a long one.

        Raises:
            Exception: The application's exception before its response.
        """
        self._task = _running.start(self._run())
        try:
            while self._reply is None and not self._finished:
                await self._wait_for_part()
        except BaseException:
            await self.aclose()
            raise
        if self._reply is not None:
            return self._reply
        if self._error is not None:
            raise self._error
        raise RuntimeError(
            "the ASGI application returned without a response; it must send "
            f"{_START!r} and then {_BODY!r}."
        )

    # --- the reply's rest ---------------------------------------------------------------

    def __aiter__(self) -> ASGIExchange:
        return self

    async def __anext__(self) -> Message:
        while True:
            if self._parts:
                return self._take()
            if self._complete:
                raise StopAsyncIteration
            if self._finished:
                raise self._broken_off()
            await self._wait_for_part()

    @property
    def _is_awaited(self) -> bool:
        return self._reader is not None and not self._reader.done()

    def take_ready(self) -> Message | None:
        """Return the waiting parts if the reader awaits them, else None."""
        return self._take() if self._parts and self._is_awaited else None

    def wake(self) -> None:
        """Wake the reader, which takes the waiting parts."""
        wake(self._reader)

    def _take(self) -> Message:
        parts, self._parts = self._parts, []
        self._parts_bytes = 0
        wake(self._sender)
        return parts

    async def aclose(self) -> None:
        """End the application and wait for its end, unless its response is complete."""
        task = self._task
        if task is None or self._complete or task.done():
            return
        self._is_disconnected = True
        listens = self._receive.num_waiting
        self._receive.end()
        if listens:
            # The application awaits this message, and can clean up before it is cancelled.
            await asyncio.wait([task], timeout=DISCONNECT_GRACE_S)
        task.cancel()
        await asyncio.wait([task])

    def _broken_off(self) -> RemoteError:
        """Log why the response is incomplete; return the error that aborts it."""
        error = self._error or RuntimeError(
            "the ASGI application returned in the middle of its response; the last "
            f"{_BODY!r} must have more_body=False."
        )
        log_failure(self._user_callable, self._call, error, self._scope.get("endpoint"))
        # Not the user's exception, which would have to be pickled.
        return RemoteError(type(error).__qualname__, str(error), "")

    async def _wait_for_part(self) -> None:
        self._reader = self._loop.create_future()
        await self._reader

    # --- the application ----------------------------------------------------------------

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._receive, self._send)
        except asyncio.CancelledError as error:
            # The traceback refers to Starlette's frames, and they to a sync generator.
            traceback.clear_frames(error.__traceback__)
            raise
        except BaseException as error:  # user code; SystemExit must not end the replica
            name = type(error).__name__
            self._failed(error if isinstance(error, Exception) else RuntimeError(f"{name} raised"))
        finally:
            try:
                if self._finish is not None:
                    await self._finish()
            finally:
                self._finished = True
                self._receive.end()
                wake(self._reader)

    def _failed(self, error: Exception) -> None:
        if self._is_disconnected:
            if not isinstance(error, RequestDisconnected):
                deployment = self._user_callable.deployment
                log.debug("%s failed after its client disconnected: %r", deployment, error)
        elif not self._complete:
            self._error = error
        elif self._status >= 500:
            # Frameworks respond and then raise, so that the server logs the exception.
            log_failure(self._user_callable, self._call, error, self._scope.get("endpoint"))
        else:
            log.error(
                "%s: a background task failed, request %s",
                self._user_callable.deployment,
                self._call.request_id,
                exc_info=begin_at_user(error),
            )

    async def _send(self, message: ASGIMessage) -> None:
        kind = message["type"]
        if self._is_disconnected:
            raise RequestDisconnected("the client has disconnected.")
        if kind == _BODY and self._head is not None and not self._complete:
            body, more = message.get("body", b""), message.get("more_body", False)
            if self._streaming:
                parts = self._parts
                if self._parts_bytes >= MAX_AHEAD_BYTES or len(parts) >= MAX_AHEAD_PARTS:
                    await self._wait_for_reader()
                    parts = self._parts
                if body:
                    parts.append(body)
                    self._parts_bytes += len(body)
                if not more:
                    self._end()
                elif body and len(parts) == 1 and self._is_awaited:
                    (self.on_ready or self.wake)()
            elif self._reply is None:
                self._start_reply(self._head, body, more)
            elif body:  # behind a body that had its whole Content-Length
                raise RuntimeError("the response's body is longer than its Content-Length.")
            elif not more:
                self._end()
        elif kind == _START and self._head is None:
            status = message["status"]
            self._head = pack_response(status, message.get("headers", ()))
            self._status = status
            self._loop.call_soon(self._send_head_alone, self._head, HEAD_ITERATIONS)
        elif kind != "http.response.trailers" or self._head is None:
            # Trailers after the head are ignored: the scope does not announce that extension.
            raise RuntimeError(
                f"{self._describe_state()}, the ASGI application must not send {kind!r}."
            )

    def _start_reply(self, head: bytes, body: bytes, more: bool) -> None:
        if not more:
            self._reply = Reply((head, body))
            self._end()
            return
        if body and unpack_response(head)[0].length == len(body):
            # The body is complete: middleware sends whole responses with more_body=True.
            self._reply = Reply((head, body))
        else:
            self._streaming = True
            self._reply = Reply((head, body), self)
        wake(self._reader)

    def _send_head_alone(self, head: bytes, num_iterations: int) -> None:
        """Send the head alone, unless the body follows within `num_iterations` of the loop."""
        if self._reply is not None or self._finished or self._is_disconnected:
            return
        if num_iterations:
            self._loop.call_soon(self._send_head_alone, head, num_iterations - 1)
        else:
            self._start_reply(head, b"", True)

    async def _wait_for_reader(self) -> None:
        """Wait until the reader has taken the waiting parts."""
        while self._parts_bytes >= MAX_AHEAD_BYTES or len(self._parts) >= MAX_AHEAD_PARTS:
            self._sender = self._loop.create_future()
            await self._sender

    def _end(self) -> None:
        self._complete = True
        self._receive.end()
        wake(self._reader)

    def _describe_state(self) -> str:
        if self._complete:
            return "after the end of its response"
        return "before http.response.start" if self._head is None else "after http.response.start"


_running = TaskSet()
"""Tasks of running applications."""
