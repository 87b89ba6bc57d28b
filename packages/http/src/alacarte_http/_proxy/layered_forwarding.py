"""Forwarding of requests and WebSocket handshakes through the layers of plugins."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from alacarte.aio import close_iterator
from alacarte.errors import DeadlineExceededError
from alacarte.foreign import is_cancellation
from alacarte.types import Call, Message, Reply

from .._call_builder import CallBuilder
from .._edge.exchange import ClientDisconnected, Exchange
from .._edge.head import Head, Peer
from .._head_codec import HTTP
from .._local_response import error_response
from .._request_options import RequestOptions, read_options
from .._websocket.relay import websocket_error_response
from .._websocket.websocket_connection import WebSocketConnection
from ..layers import HttpRequest, HttpResponse, HttpRoute
from ..message import read_response, write_reply
from .forwarding import Forwarding, OnEnd
from .layer_builder import to_http_response
from .layered_routes import RouteLayers, RouteTarget
from .request_body import rest_of_body

__all__ = ["LayeredForwarding", "WebSocketHandshake"]

_HTTP_CALL = Call(HTTP, ())
_LAYER_GRACE_S = 0.05


class _Deadline:
    """The deadline for a response to begin, with the time of layers included."""

    __slots__ = ("_at", "_limit_s")

    def __init__(self, limit_s: float | None) -> None:
        self._limit_s = limit_s
        self._at = 0.0 if limit_s is None else time.monotonic() + limit_s

    @property
    def is_set(self) -> bool:
        """Whether there is a deadline."""
        return self._limit_s is not None

    def shorten(self, call: Call) -> None:
        """Limit the deadline of a call, which is built later than this one, to this deadline."""
        if self._limit_s is not None and call.deadline is not None:
            call.deadline = min(call.deadline, self._at)

    async def respond(self, layers: RouteLayers, request: HttpRequest) -> HttpResponse:
        """Return the response of the layers, or 504 after the deadline."""
        if self._limit_s is None:
            return await layers.service(request)
        left = self._at - time.monotonic()
        try:
            # Later than the call's own deadline, so that the layers see its response.
            async with asyncio.timeout(max(left, 0) + _LAYER_GRACE_S):
                return await layers.service(request)
        except TimeoutError:  # layers turn other errors into responses
            error = DeadlineExceededError(layers.route.application, self._limit_s)
            return to_http_response(error_response(error))


class LayeredForwarding(Forwarding):
    """Sends a request through layers to a replica, and the layers' response to the client.

    Args:
        target: The request's layers and route. `Forwarding` describes the other arguments.
    """

    __slots__ = ("_deadline", "_forwarded", "_target")

    def __init__(
        self,
        exchange: Exchange,
        target: RouteTarget,
        options: RequestOptions,
        request_id: str,
        call_builder: CallBuilder,
        on_end: OnEnd,
        started_at: float,
    ) -> None:
        super().__init__(
            exchange, target.resolved, options, request_id, call_builder, on_end, started_at
        )
        self._target = target
        self._deadline = _Deadline(call_builder.timeout_s(options))
        self._forwarded = False

    def begin(self) -> None:
        """Begin: in a task, unless layers and service run without one."""
        target = self._target
        is_task_free = self.resolved.is_task_free or target.local_response is not None
        if (
            target.layers.task_free
            and is_task_free
            and not self._deadline.is_set
            and not self.exchange.more_body
        ):
            self._coroutine = self._reply()
            self.exchange.work = self
            self._advance(None)
        else:
            self._spawn(self._through_layers())

    async def _reply(self) -> Reply:
        """Return the response of the layers as a reply."""
        exchange, layers = self.exchange, self._target.layers
        head, peer = exchange.head, exchange.peer
        request = _request(head, peer, layers.route, self.request_id, self._forward)
        response = await self._deadline.respond(layers, request)
        if response.rest is not self._rest:
            await self._close()  # a layer has replaced the replica's response
            self._rest = response.rest
        return write_reply(_HTTP_CALL, response)

    async def _through_layers(self) -> int:
        """Respond to the request; return the status that was sent."""
        try:
            reply = await self._reply()
        except asyncio.CancelledError as error:
            if self._is_cancelled:
                raise
            return await self._send(self._error_response(error))  # raised by a layer
        if reply.rest is not None:
            return await self._stream(reply, reply.rest)
        try:
            return await self._respond_after_drain(reply)
        except ValueError as error:  # the body's length differs from the head's
            return await self._send(self._error_response(error))

    async def _forward(self, request: HttpRequest) -> HttpResponse:
        """Send a request that all layers have passed on to a replica."""
        _check_first_forward(self._forwarded)
        self._forwarded = True
        exchange, target = self.exchange, self._target
        head, options = _apply_rewrites(request, exchange.head, self._options, target)
        response = (
            options.refusal if target.local_response is None else target.local_response(options)
        )
        if response is not None:
            return to_http_response(response)
        try:
            body = await exchange.read()
            rest = rest_of_body(exchange) if exchange.more_body else None
            call = self._call = self._call_builder.http_call(
                head, exchange.peer, self.resolved, options, self.request_id, body, rest
            )
            call.identity = request.identity
            self._deadline.shorten(call)
            reply = await self.resolved.http(call)
            self._rest = reply.rest
            if self._on_end is None:
                await self._close()  # a layer has responded in the meantime
            return read_response(call, reply)
        except (ClientDisconnected, GeneratorExit):
            raise
        except BaseException as error:  # the client gets a response to any failure
            if isinstance(error, asyncio.CancelledError) and self._is_cancelled:
                raise
            return to_http_response(self._error_response(error))

    @property
    def _is_cancelled(self) -> bool:
        """Whether a cancellation is of this request, not of an operation that it awaits."""
        task = asyncio.current_task()
        return self.exchange.disconnected or task is None or bool(task.cancelling())


class WebSocketHandshake:
    """A service that sends the handshake of a WebSocket through layers to a replica.

    Attributes:
        call: The WebSocket handshake's call, with the layers' changes once they have passed it on.
    """

    def __init__(
        self,
        connection: WebSocketConnection,
        target: RouteTarget,
        options: RequestOptions,
        call_builder: CallBuilder,
    ) -> None:
        self._connection = connection
        self._target = target
        self._options = options
        self._call_builder = call_builder
        self._deadline = _Deadline(call_builder.timeout_s(options))
        self._forwarded = False
        self._rest: AsyncIterator[Message] | None = None
        self.call = _HTTP_CALL

    def make_call(self, request_id: str) -> Call:
        """Return the call of the WebSocket handshake as the client sent it."""
        self.call = self._call(self._connection.head, self._options, request_id)
        return self.call

    def _call(self, head: Head, options: RequestOptions, request_id: str) -> Call:
        connection = self._connection
        return self._call_builder.websocket_call(
            head,
            connection.peer,
            self._target.resolved,
            options,
            request_id,
            connection.messages,
        )

    async def __call__(self, call: Call) -> Reply:
        """Return the response of the layers to the WebSocket handshake."""
        connection, target = self._connection, self._target
        request = _request(
            connection.head,
            connection.peer,
            target.layers.route,
            call.request_id,
            self._forward,
            websocket=True,
        )
        try:
            response = await self._deadline.respond(target.layers, request)
        except BaseException:
            await self._close()
            raise
        if response.rest is not self._rest:
            await self._close()  # a layer has replaced the replica's response
        return write_reply(call, response)

    async def _forward(self, request: HttpRequest) -> HttpResponse:
        """Send a WebSocket handshake that all layers have passed on to a replica."""
        _check_first_forward(self._forwarded)
        self._forwarded = True
        target = self._target
        head, options = _apply_rewrites(request, self._connection.head, self._options, target)
        response = (
            options.refusal if target.local_response is None else target.local_response(options)
        )
        if response is not None:
            return to_http_response(response)
        try:
            call = self.call = self._call(head, options, request.request_id)
            call.identity = request.identity
            self._deadline.shorten(call)
            reply = await target.resolved.websocket(call)
            self._rest = reply.rest
            return read_response(call, reply)
        except GeneratorExit:
            raise
        except BaseException as error:  # the client gets a response to any failure
            if is_cancellation(error):
                raise
            return to_http_response(websocket_error_response(error, request.request_id))

    async def _close(self) -> None:
        rest, self._rest = self._rest, None
        await close_iterator(rest)


def _request(
    head: Head,
    peer: Peer,
    route: HttpRoute,
    request_id: str,
    forward: Callable[[HttpRequest], Awaitable[HttpResponse]],
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
        forward,
    )


def _check_first_forward(forwarded: bool) -> None:
    if forwarded:
        raise RuntimeError(
            "a layer passed a request on twice, but the request's body can be read only once"
        )


def _apply_rewrites(
    request: HttpRequest, head: Head, options: RequestOptions, target: RouteTarget
) -> tuple[Head, RequestOptions]:
    """Return the head and the options of a request after the layers' changes.

    Raises:
        ValueError: A layer changed the path to one outside the route's prefix.
    """
    if request.raw_path is not head.raw_path:
        prefix = target.layers.route.prefix.rstrip("/")
        if target.local_response is None and not f"{request.path}/".startswith(f"{prefix}/"):
            raise ValueError(
                f"a layer changed the path to {request.path!r}, outside the route {prefix!r}"
            )
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
