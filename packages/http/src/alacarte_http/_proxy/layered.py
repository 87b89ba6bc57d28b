"""Requests, and handshakes of WebSockets, on their way through the layers of plugins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

from alacarte.types import Call, DeploymentInfo, Message, Reply, Route, RouteTable

from .._calls import Calls, ResolvedRoute
from .._edge.exchange import ClientDisconnected, Exchange
from .._edge.head import Head, Peer
from .._errors import Answer
from .._message import HTTP
from .._request_options import RequestOptions, read_options
from .._websocket.connection import WebSocketConnection
from .._websocket.relay import answer_of
from ..layers import (
    APPLICATION,
    SYSTEM,
    UNMATCHED,
    HttpRequest,
    HttpResponse,
    HttpRoute,
    HttpService,
)
from ..message import read_response, write_reply
from .forwarding import Ended, Forwarding
from .layers import HttpLayers, response_to
from .request_body import rest_of_body

__all__ = ["NOWHERE", "Around", "Handshake", "LayeredForwarding", "LayeredRoutes", "Target"]

_HTTP_CALL = Call(HTTP, ())
_SYSTEM = HttpRoute(SYSTEM, "/-/")
_UNMATCHED = HttpRoute(UNMATCHED)


async def _no_service(call: Call) -> Reply:
    """Stand in for the services of a route that does not exist."""
    raise NotImplementedError


NOWHERE = ResolvedRoute(Route("", "", {}), _no_service, _no_service, None, False)
"""Where a request goes on to that the proxy answers itself."""


class Around(NamedTuple):
    """The layers around one route.

    Attributes:
        route: As the layers see it.
        service: The layers, around the way on that each request carries.
    """

    route: HttpRoute
    service: HttpService


class LayeredRoutes:
    """The routes that layers stand around, at one moment.

    Args:
        layers: Builds what is new.
        table: All routes.

    Attributes:
        system: Around the proxy's own paths; None without layers.
        unmatched: Around paths that no route takes; None without layers.
    """

    def __init__(self, layers: HttpLayers, table: RouteTable) -> None:
        seen = {
            (route.prefix, route.exact): _seen(route, table)
            for route in table.routes
            if route.prefix
        }
        layers.update([_SYSTEM, _UNMATCHED, *seen.values()])

        def around(route: HttpRoute) -> Around | None:
            service = layers.service(route)
            return None if service is None else Around(route, service)

        self.system = around(_SYSTEM)
        self.unmatched = around(_UNMATCHED)
        self._routes = {key: around(route) for key, route in seen.items()}

    def __bool__(self) -> bool:
        return any((self.system, self.unmatched, *self._routes.values()))

    def around(self, resolved: ResolvedRoute | None) -> Around | None:
        """Return the layers around a route, None without.

        Args:
            resolved: None for a path that no route takes.
        """
        if resolved is None:
            return self.unmatched
        return self._routes[resolved.route.prefix, resolved.route.exact]


def _seen(route: Route, table: RouteTable) -> HttpRoute:
    infos = tuple(table.deployments.get(each, DeploymentInfo(each)) for each in route.targets)
    return HttpRoute(APPLICATION, route.prefix, route.app, infos)


class Target(NamedTuple):
    """Where a request goes.

    Attributes:
        around: The layers that it passes.
        resolved: Where they pass it on to.
        answer: Answers in place of an application, given the request's options; None where an
            application does.
    """

    around: Around
    resolved: ResolvedRoute
    answer: Callable[[RequestOptions], Answer] | None = None


class LayeredForwarding(Forwarding):
    """Sends a request through layers to a replica, and answers with what they return.

    Args:
        target: Where the request goes. `Forwarding` describes the others.
    """

    __slots__ = ("_forwarded", "_target")

    def __init__(
        self,
        exchange: Exchange,
        target: Target,
        options: RequestOptions,
        request_id: str,
        calls: Calls,
        ended: Ended,
        began: float,
    ) -> None:
        super().__init__(exchange, target.resolved, options, request_id, calls, ended, began)
        self._target = target
        self._forwarded = False

    def begin(self) -> None:
        """Begin, in a task: layers may wait for whatever they like."""
        self._spawn(self._through_layers())

    async def _through_layers(self) -> int:
        """Answer the request; return the status that was sent."""
        exchange, target = self.exchange, self._target
        head, peer = exchange.head, exchange.peer
        request = _request(head, peer, target.around.route, self.request_id, self._pass_on)
        try:
            response = await target.around.service(request)
        except asyncio.CancelledError as error:
            if self._is_cancelled:
                raise
            return await self._answer(self._answer_to(error))  # a layer's own
        if response.rest is not self._rest:
            await self._close()  # a layer answers by itself: nobody reads the replica's
            self._rest = response.rest
        reply = write_reply(_HTTP_CALL, response)
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
            reply = await self.resolved.http(call)
            self._rest = reply.rest
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
        self, connection: WebSocketConnection, target: Target, options: RequestOptions, calls: Calls
    ) -> None:
        self._connection = connection
        self._target = target
        self._options = options
        self._calls = calls
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
            response = await target.around.service(request)
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
            reply = await target.resolved.websocket(call)
            self._rest = reply.rest
            return read_response(call, reply)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # whatever went wrong, the client gets an answer
            return response_to(answer_of(error, request.request_id))

    async def _close(self) -> None:
        rest, self._rest = self._rest, None
        close = getattr(rest, "aclose", None)
        if close is not None:
            await close()


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
    request: HttpRequest, head: Head, options: RequestOptions, target: Target
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
