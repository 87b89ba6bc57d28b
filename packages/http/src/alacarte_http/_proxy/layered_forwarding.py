"""Requests, and handshakes of WebSockets, on their way through the layers of plugins."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from alacarte.aio import close_iterator
from alacarte.errors import DeadlineExceededError
from alacarte.foreign import is_cancellation
from alacarte.types import Call, Message, Reply

from .._calls import Calls
from .._edge.exchange import ClientDisconnected, Exchange
from .._edge.head import Head, Peer
from .._errors import answer_to
from .._head_codec import HTTP
from .._request_options import RequestOptions, read_options
from .._websocket.relay import answer_of
from .._websocket.websocket_connection import WebSocketConnection
from ..layers import HttpRequest, HttpResponse, HttpRoute
from ..message import read_response, write_reply
from .forwarding import Ended, Forwarding
from .layer_builder import response_to
from .layered_routes import Around, RouteTarget
from .request_body import rest_of_body

__all__ = ["Handshake", "LayeredForwarding"]

_HTTP_CALL = Call(HTTP, ())
_GRACE_S = 0.05


class _Deadline:
    """The end of the time in which a response must begin, layers included."""

    __slots__ = ("_at", "_limit_s")

    def __init__(self, limit_s: float | None) -> None:
        self._limit_s = limit_s
        self._at = 0.0 if limit_s is None else time.monotonic() + limit_s

    @property
    def is_set(self) -> bool:
        """Whether there is one."""
        return self._limit_s is not None

    def shorten(self, call: Call) -> None:
        """Let a call end at the deadline, though it is made later."""
        if self._limit_s is not None and call.deadline is not None:
            call.deadline = min(call.deadline, self._at)

    async def answer(self, around: Around, request: HttpRequest) -> HttpResponse:
        """Return what the layers answer, in time."""
        if self._limit_s is None:
            return await around.service(request)
        left = self._at - time.monotonic()
        try:
            # Later than the call's own deadline, whose response the layers are to see.
            async with asyncio.timeout(max(left, 0) + _GRACE_S):
                return await around.service(request)
        except TimeoutError:  # no other one passes the layers
            error = DeadlineExceededError(around.route.application, self._limit_s)
            return response_to(answer_to(error))


class LayeredForwarding(Forwarding):
    """Sends a request through layers to a replica, and answers with what they return.

    Args:
        target: Where the request goes. `Forwarding` describes the others.
    """

    __slots__ = ("_deadline", "_forwarded", "_target")

    def __init__(
        self,
        exchange: Exchange,
        target: RouteTarget,
        options: RequestOptions,
        request_id: str,
        calls: Calls,
        ended: Ended,
        began: float,
    ) -> None:
        super().__init__(exchange, target.resolved, options, request_id, calls, ended, began)
        self._target = target
        self._deadline = _Deadline(calls.limit_s(options))
        self._forwarded = False

    def begin(self) -> None:
        """Begin; in a task, unless all that runs is free of it."""
        target = self._target
        is_plain = self.resolved.is_plain or target.answer is not None
        if (
            target.around.task_free
            and is_plain
            and not self._deadline.is_set
            and not self.exchange.more_body
        ):
            self._steps = self._reply()
            self.exchange.work = self
            self._carry_on(None)
        else:
            self._spawn(self._through_layers())

    async def _reply(self) -> Reply:
        """Return what the layers answer."""
        exchange, around = self.exchange, self._target.around
        head, peer = exchange.head, exchange.peer
        request = _request(head, peer, around.route, self.request_id, self._pass_on)
        response = await self._deadline.answer(around, request)
        if response.rest is not self._rest:
            await self._close()  # a layer answers by itself: nobody reads the replica's
            self._rest = response.rest
        return write_reply(_HTTP_CALL, response)

    async def _through_layers(self) -> int:
        """Answer the request; return the status that was sent."""
        try:
            reply = await self._reply()
        except asyncio.CancelledError as error:
            if self._is_cancelled:
                raise
            return await self._answer(self._answer_to(error))  # a layer's own
        if reply.rest is not None:
            return await self._stream(reply, reply.rest)
        try:
            return await self._respond_when_read(reply)
        except ValueError as error:  # of a length that the head does not promise
            return await self._answer(self._answer_to(error))

    async def _pass_on(self, request: HttpRequest) -> HttpResponse:
        """Answer a request that all layers have passed on."""
        _pass_once(self._forwarded)
        self._forwarded = True
        exchange, target = self.exchange, self._target
        head, options = _rewritten(request, exchange.head, self._options, target)
        answer = options.refusal if target.answer is None else target.answer(options)
        if answer is not None:
            return response_to(answer)
        try:
            body = await exchange.read()
            rest = rest_of_body(exchange) if exchange.more_body else None
            call = self._call = self._calls.http(
                head, exchange.peer, self.resolved, options, self.request_id, body, rest
            )
            call.identity = request.identity
            self._deadline.shorten(call)
            reply = await self.resolved.http(call)
            self._rest = reply.rest
            if self._ended is None:
                await self._close()  # a layer has answered meanwhile
            return read_response(call, reply)
        except (ClientDisconnected, GeneratorExit):
            raise
        except BaseException as error:  # whatever went wrong, the client gets an answer
            if isinstance(error, asyncio.CancelledError) and self._is_cancelled:
                raise
            return response_to(self._answer_to(error))

    @property
    def _is_cancelled(self) -> bool:
        """Whether a cancellation is of this request, and not of something that it waits for."""
        task = asyncio.current_task()
        return self.exchange.disconnected or task is None or bool(task.cancelling())


class Handshake:
    """Sends the handshake of a WebSocket through layers to a replica: a service of its call.

    Attributes:
        call: The call that was sent to a replica last, or would be.
    """

    def __init__(
        self,
        connection: WebSocketConnection,
        target: RouteTarget,
        options: RequestOptions,
        calls: Calls,
    ) -> None:
        self._connection = connection
        self._target = target
        self._options = options
        self._calls = calls
        self._deadline = _Deadline(calls.limit_s(options))
        self._forwarded = False
        self._rest: AsyncIterator[Message] | None = None
        self.call = _HTTP_CALL

    def make_call(self, request_id: str) -> Call:
        """Return the call of the handshake as the client has sent it."""
        self.call = self._call(self._connection.head, self._options, request_id)
        return self.call

    def _call(self, head: Head, options: RequestOptions, request_id: str) -> Call:
        connection = self._connection
        return self._calls.websocket(
            head,
            connection.peer,
            self._target.resolved,
            options,
            request_id,
            connection.messages,
        )

    async def __call__(self, call: Call) -> Reply:
        """Answer the handshake."""
        connection, target = self._connection, self._target
        request = _request(
            connection.head,
            connection.peer,
            target.around.route,
            call.request_id,
            self._pass_on,
            websocket=True,
        )
        try:
            response = await self._deadline.answer(target.around, request)
        except BaseException:
            await self._close()
            raise
        if response.rest is not self._rest:
            await self._close()  # a layer answers by itself: nobody reads the replica's
        return write_reply(call, response)

    async def _pass_on(self, request: HttpRequest) -> HttpResponse:
        """Answer a handshake that all layers have passed on."""
        _pass_once(self._forwarded)
        self._forwarded = True
        target = self._target
        head, options = _rewritten(request, self._connection.head, self._options, target)
        answer = options.refusal if target.answer is None else target.answer(options)
        if answer is not None:
            return response_to(answer)
        try:
            call = self.call = self._call(head, options, request.request_id)
            call.identity = request.identity
            self._deadline.shorten(call)
            reply = await target.resolved.websocket(call)
            self._rest = reply.rest
            return read_response(call, reply)
        except GeneratorExit:
            raise
        except BaseException as error:  # whatever went wrong, the client gets an answer
            if is_cancellation(error):
                raise
            return response_to(answer_of(error, request.request_id))

    async def _close(self) -> None:
        rest, self._rest = self._rest, None
        await close_iterator(rest)


def _request(
    head: Head,
    peer: Peer,
    route: HttpRoute,
    request_id: str,
    pass_on: Callable[[HttpRequest], Awaitable[HttpResponse]],
    *,
    websocket: bool = False,
) -> HttpRequest:
    return HttpRequest(
        head.method,
        head.path,
        head.raw_path,
        head.query,
        head.version,
        head.headers,
        peer.client,
        peer.server,
        peer.secure,
        websocket,
        request_id,
        route,
        None,
        pass_on,
    )


def _pass_once(forwarded: bool) -> None:
    if forwarded:
        raise RuntimeError("a layer passes a request on once: the body can be read once")


def _rewritten(
    request: HttpRequest, head: Head, options: RequestOptions, target: RouteTarget
) -> tuple[Head, RequestOptions]:
    """Return head and options of a request as the layers have left it.

    Raises:
        ValueError: A layer has led the request out of its route.
    """
    if request.raw_path is not head.raw_path:
        prefix = target.around.route.prefix.rstrip("/")
        if target.answer is None and not f"{request.path}/".startswith(f"{prefix}/"):
            raise ValueError(f"a layer changed the path to {request.path!r}: not below {prefix!r}")
    elif request.headers is head.headers and (request.method, request.query) == (
        head.method,
        head.query,
    ):
        return head, options
    changed = Head(
        request.method,
        request.raw_path,
        request.path,
        request.query,
        head.version,
        list(request.headers),
        head.has_body,
        head.expects_continue,
        head.keep_alive,
    )
    return changed, options if request.headers is head.headers else read_options(changed.headers)
