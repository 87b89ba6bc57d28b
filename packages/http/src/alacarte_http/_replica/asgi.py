"""Run an ASGI application for one call, in a task of its own, with its response as a `Reply`.

What an application sends at once goes as one reply. Where nothing of the body follows the head, the
head goes alone: a client may act on a status long before there is a body. A longer response is held
back by its reader:
the application may be 64 KiB ahead, and what it sends while the reader is busy leaves together, as
handing over each part costs more than the part. After the last message the task goes on by itself,
with what the application does then.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from alacarte.aio import TaskSet, wake
from alacarte.errors import RemoteError
from alacarte.types import Call, Message, Reply, UserCallable

from .._head_codec import pack_response, unpack_response
from .failure_log import begin_at_user, log_failure
from .receive import ReceivedBody

__all__ = ["ClientLeft", "ASGIExchange"]

log = logging.getLogger("alacarte.replica")
LEAVE_S = 0.1
"""How long an application that waits for `http.disconnect` may take to end by itself."""
AHEAD_BYTES = 64 * 1024
AHEAD_PARTS = 256
"""How far an application may be ahead of the reader of its response."""
HEAD_TURNS = 4
"""Turns of the event loop for the body to follow its head: each layer of Starlette's
`BaseHTTPMiddleware` takes one or two to hand on what is there already."""

ASGIApp = Callable[[Any, Any, Any], Awaitable[Any]]

_START, _BODY = "http.response.start", "http.response.body"


class ClientLeft(OSError):
    """The application sends to a client that is gone."""


class ASGIExchange:
    """One request and its response. Also the reply's `rest`, where the response is a stream.

    No generator: closing one that has not begun would run nothing, and leave the response behind.

    Args:
        finish: Awaited at the end of the application, however it ends.

    Attributes:
        on_ready: Called when a part is there for the reader that awaits it (`ReadyMessages`).
    """

    __slots__ = (
        "_app", "_call", "_complete", "_error", "_finish", "_finished", "_gone", "_head", "_loop",
        "_mail", "_mail_bytes", "_reader", "_receive", "_reply", "_scope", "_sender", "_served",
        "_status", "_streaming", "_task", "on_ready",
    )  # fmt: skip

    def __init__(
        self,
        app: ASGIApp,
        scope: dict[str, Any],
        receive: ReceivedBody,
        served: UserCallable,
        call: Call,
        finish: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._app = app
        self._scope = scope
        self._receive = receive
        self._served = served
        self._call = call
        self._finish = finish
        self.on_ready: Callable[[], None] | None = None
        self._loop = asyncio.get_running_loop()
        self._status = 0
        self._head: bytes | None = None
        self._reply: Reply | None = None
        self._mail: list[bytes] = []
        self._mail_bytes = 0
        self._streaming = False  # the reader takes the body message by message
        self._complete = False  # the last message of the response has been sent
        self._finished = False  # the application has ended
        self._gone = False  # the client has
        self._error: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._sender: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    async def reply(self) -> Reply:
        """Run the application until its response is there, or the beginning of a long one.

        Raises:
            Exception: What it raised before it had answered.
        """
        self._task = _running.start(self._run())
        try:
            while self._reply is None and not self._finished:
                await self._message()
        except BaseException:
            await self.aclose()
            raise
        if self._reply is not None:
            return self._reply
        if self._error is not None:
            raise self._error
        raise RuntimeError(
            "the ASGI application returned without a response: it must send "
            f"{_START!r} and then {_BODY!r}."
        )

    # --- the reply's rest ---------------------------------------------------------------

    def __aiter__(self) -> ASGIExchange:
        return self

    async def __anext__(self) -> Message:
        while True:
            if self._mail:
                return self._take()
            if self._complete:
                raise StopAsyncIteration
            if self._finished:
                raise self._broken()
            await self._message()

    @property
    def _is_awaited(self) -> bool:
        return self._reader is not None and not self._reader.done()

    def take_ready(self) -> Message | None:
        """Return the parts that are there, if the reader awaits them."""
        return self._take() if self._mail and self._is_awaited else None

    def wake(self) -> None:
        """Give the reader what is there."""
        wake(self._reader)

    def _take(self) -> Message:
        mail, self._mail = self._mail, []
        self._mail_bytes = 0
        wake(self._sender)
        return mail

    async def aclose(self) -> None:
        """End the application, unless it has sent all; return when it has ended."""
        task = self._task
        if task is None or self._complete or task.done():
            return
        self._gone = True
        heard = self._receive.waiting
        self._receive.end()
        if heard:
            # It listens for this very message, and cleans up better by itself.
            await asyncio.wait([task], timeout=LEAVE_S)
        task.cancel()
        await asyncio.wait([task])

    def _broken(self) -> RemoteError:
        """Return what breaks the response off."""
        error = self._error or RuntimeError(
            "the ASGI application returned in the middle of its response: the last "
            f"{_BODY!r} must have more_body=False."
        )
        log_failure(self._served, self._call, error, self._scope.get("endpoint"))
        # In place of the user's own, which would be pickled to travel.
        return RemoteError(type(error).__qualname__, str(error), "")

    async def _message(self) -> None:
        self._reader = self._loop.create_future()
        await self._reader

    # --- the application ----------------------------------------------------------------

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._receive, self._send)
        except asyncio.CancelledError as error:
            # A sync generator lives in a frame of Starlette's, and the traceback holds that.
            traceback.clear_frames(error.__traceback__)
            raise
        except BaseException as error:  # the user's code; SystemExit ends no replica
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
        if self._gone:
            if not isinstance(error, ClientLeft):
                log.debug("%s failed after its client left: %r", self._served.deployment, error)
        elif not self._complete:
            self._error = error
        elif self._status >= 500:
            # Frameworks answer, and raise all the same so that the server logs it.
            log_failure(self._served, self._call, error, self._scope.get("endpoint"))
        else:
            log.error(
                "%s: a background task failed, request %s",
                self._served.deployment,
                self._call.request_id,
                exc_info=begin_at_user(error),
            )

    async def _send(self, message: Any) -> None:
        kind = message["type"]
        if self._gone:
            raise ClientLeft("the client is gone.")
        if kind == _BODY and self._head is not None and not self._complete:
            body, more = message.get("body", b""), message.get("more_body", False)
            if self._streaming:
                mail = self._mail
                if self._mail_bytes >= AHEAD_BYTES or len(mail) >= AHEAD_PARTS:
                    await self._room()
                    mail = self._mail
                if body:
                    mail.append(body)
                    self._mail_bytes += len(body)
                if not more:
                    self._end()
                elif body and len(mail) == 1 and self._is_awaited:
                    (self.on_ready or self.wake)()
            elif self._reply is None:
                self._begin(self._head, body, more)
            elif body:  # the rest of a response that has all its length
                raise RuntimeError("the response's body is longer than its Content-Length.")
            elif not more:
                self._end()
        elif kind == _START and self._head is None:
            status = message["status"]
            self._head = pack_response(status, message.get("headers", ()))
            self._status = status
            self._loop.call_soon(self._begin_alone, self._head, HEAD_TURNS)
        elif kind != "http.response.trailers" or self._head is None:
            # Trailers are not promised to applications; they are left out.
            raise RuntimeError(f"{self._place()}, the ASGI application may not send {kind!r}.")

    def _begin(self, head: bytes, body: bytes, more: bool) -> None:
        if not more:
            self._reply = Reply((head, body))
            self._end()
            return
        if body and unpack_response(head)[0].length == len(body):
            # Nothing can follow: middleware sends whole responses in parts like these.
            self._reply = Reply((head, body))
        else:
            self._streaming = True
            self._reply = Reply((head, body), self)
        wake(self._reader)

    def _begin_alone(self, head: bytes, turns: int) -> None:
        """Let the head go without a body, unless one follows within some turns of the loop."""
        if self._reply is not None or self._finished or self._gone:
            return
        if turns:
            self._loop.call_soon(self._begin_alone, head, turns - 1)
        else:
            self._begin(head, b"", True)

    async def _room(self) -> None:
        """Return when the reader is not too far behind."""
        while self._mail_bytes >= AHEAD_BYTES or len(self._mail) >= AHEAD_PARTS:
            self._sender = self._loop.create_future()
            await self._sender

    def _end(self) -> None:
        self._complete = True
        self._receive.end()
        wake(self._reader)

    def _place(self) -> str:
        if self._complete:
            return "after the end of its response"
        return "before http.response.start" if self._head is None else "after http.response.start"


_running = TaskSet()
"""Applications at work."""
