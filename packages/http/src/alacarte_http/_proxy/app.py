"""The proxy's application: which route a request takes, or how it is refused.

Every request passes through here, so nothing is done twice that can be done once: no framework, no
hook, no pickle, no logging. Runs on the proxy's event loop.
"""

from __future__ import annotations

import time
from collections.abc import Coroutine
from typing import Any

from alacarte.calls import new_request_id
from alacarte.types import Reply, Route, RouteTable, Runtime

from .._calls import Calls, ResolvedRoute
from .._edge.exchange import Exchange
from .._edge.head import Head
from .._errors import Answer
from .._head_codec import status_of
from .._request_options import RequestOptions, read_options
from .._websocket.relay import failed as websocket_failed
from .._websocket.relay import serve_websocket
from .._websocket.websocket_connection import WebSocketConnection
from ..layers import SYSTEM
from .access_log import AccessLogWriter
from .forwarding import CLIENT_LEFT, Forwarding, send_answer
from .layer_builder import HttpLayers
from .layered_forwarding import Handshake, LayeredForwarding
from .layered_routes import NOWHERE, Around, LayeredRoutes, RouteTarget
from .retry import Retry
from .routes import RouteIndex
from .system import NO_ROUTES, PREFIX, SystemPaths

__all__ = ["ProxyApp"]

_SOON = ((b"retry-after", b"1"),)
_BUSY = Answer(503, "The proxy has as many requests in progress as it takes.", _SOON)
_NOTHING_YET = Answer(503, "No application is deployed yet; try again in a moment.", _SOON)


class ProxyApp:
    """Routes requests by the runtime's route table.

    Args:
        runtime: Of this process.
        options: The `HTTPOptions`.
        access: Where requests are noted, None for nowhere.
        layers: Of plugins, None where no plugin gives any.

    Attributes:
        is_timed: Requests get the time of their beginning.
        ongoing: Requests being worked on, those for `/-/` left out.
    """

    is_timed = False

    def __init__(
        self,
        runtime: Runtime,
        options: Any,
        access: AccessLogWriter | None = None,
        layers: HttpLayers | None = None,
    ) -> None:
        self.ongoing = 0
        self.draining = False
        self._runtime = runtime
        self._root_path: str = options.root_path
        self._calls = Calls(options.request_timeout_s, options.retry_methods)
        self._max_ongoing: int = options.max_concurrent_requests
        self._allows_survival: bool = options.allow_disconnect_disabled
        self._system = SystemPaths(options)
        self._access = access
        self.is_timed = self.is_timed or access is not None
        self._routes: RouteIndex | None = None
        self._any_route = False
        self._layers = layers
        self._table = RouteTable(-1, ())
        self._retry = Retry(self._surround)
        self._layered: LayeredRoutes | None = None
        self._surround()

    def update(self, table: RouteTable) -> None:
        """Take over a newer route table, and connect to what it leads to."""
        routes = RouteIndex(
            table.routes,
            lambda route: self._runtime.route_service(route, _failed),
            lambda route: self._runtime.route_service(route, websocket_failed),
            self._is_plain,
            table.starting,
            self._root_path,
        )
        self._table = table
        self._surround()  # first: no route is served without its layers
        self._routes = routes
        self._any_route = self._any_route or bool(table.routes)

    def _surround(self) -> None:
        """Put the layers around all routes; None are kept where they stand around none.

        Those that could not be built are built again with the next table, or after a pause.
        """
        if self._layers is not None:
            self._layered = LayeredRoutes(self._layers, self._table) or None
            self._retry.attempted(failed=self._layers.failed)

    def _is_plain(self, route: Route) -> bool:
        return not route.is_split and self._runtime.is_plain(next(iter(route.targets)))

    async def close(self) -> None:
        """Write out what has been noted."""
        self._retry.close()
        if self._access is not None:
            await self._access.close()

    def __call__(self, exchange: Exchange) -> Coroutine[Any, Any, None] | None:
        began = time.perf_counter() if self.is_timed else 0.0
        head = exchange.head
        if self._layered is not None and (around := self._around(self._layered, head)) is not None:
            return self._through_layers(exchange, around, began)
        if head.raw_path.startswith(PREFIX):
            return self._refuse(exchange, self._own_answer(head), "")
        options = read_options(head.headers)
        request_id = options.request_id or new_request_id()
        found = options.refusal or self._find(head)
        if isinstance(found, Answer):
            self._note(head, request_id, "", found.status, began)
            return self._refuse(exchange, found, request_id)
        if self._allows_survival and options.survives_disconnect:
            exchange.survives_disconnect = True
        self.ongoing += 1
        Forwarding(exchange, found, options, request_id, self._calls, self._ended, began).begin()
        return None

    async def websocket(self, connection: WebSocketConnection) -> None:
        """Serve a WebSocket from its handshake to its end."""
        began = time.perf_counter() if self.is_timed else 0.0
        head = connection.head
        options = read_options(head.headers)
        request_id = options.request_id or new_request_id()
        if self._layered is not None and (around := self._around(self._layered, head)) is not None:
            await self._handshake(connection, around, options, request_id, began)
            return
        outcome = options.refusal or _reserved(head.raw_path) or self._find(head)
        if isinstance(outcome, Answer):
            self._deny(connection, outcome, request_id, began)
            return
        call = self._calls.websocket(
            head, connection.peer, outcome, options, request_id, connection.messages
        )
        status = CLIENT_LEFT
        try:
            status = await serve_websocket(connection, call, outcome.websocket)
        finally:
            self._ended_websocket(head, request_id, call.app, status, began)

    # --- through layers -----------------------------------------------------------------

    def _around(self, layered: LayeredRoutes, head: Head) -> Around | None:
        if head.raw_path.startswith(PREFIX):
            return layered.system
        return layered.around(None if self._routes is None else self._routes.match(head.path))

    def _through_layers(
        self, exchange: Exchange, around: Around, began: float
    ) -> Coroutine[Any, Any, None] | None:
        head = exchange.head
        options = read_options(head.headers)
        request_id = options.request_id or new_request_id()
        ended = self._ended
        if around.route.kind == SYSTEM:
            target = RouteTarget(around, NOWHERE, lambda options: self._own_answer(head))
            ended = self._ended_system
        else:
            target = self._target(head, around)
            if self.ongoing >= self._max_ongoing:  # no layer is to work for it
                self._note(head, request_id, "", _BUSY.status, began)
                return self._refuse(exchange, _BUSY, request_id)
            if self._allows_survival and options.survives_disconnect:
                exchange.survives_disconnect = True
            self.ongoing += 1
        LayeredForwarding(exchange, target, options, request_id, self._calls, ended, began).begin()
        return None

    async def _handshake(
        self,
        connection: WebSocketConnection,
        around: Around,
        options: RequestOptions,
        request_id: str,
        began: float,
    ) -> None:
        head = connection.head
        reserved = _reserved(head.raw_path)
        if reserved is not None:
            target = RouteTarget(around, NOWHERE, lambda options: reserved)
        else:
            target = self._target(head, around)
        handshake = Handshake(connection, target, options, self._calls)
        status = CLIENT_LEFT
        try:
            status = await serve_websocket(connection, handshake.make_call(request_id), handshake)
        finally:
            self._ended_websocket(head, request_id, handshake.call.app, status, began)

    def _target(self, head: Head, around: Around) -> RouteTarget:
        """Return where a request goes when its layers pass it on."""
        found = self._find(head)
        if not isinstance(found, Answer):
            return RouteTarget(around, found)
        resolved = None if self._routes is None else self._routes.match(head.path)
        return RouteTarget(around, resolved or NOWHERE, lambda options: options.refusal or found)

    # ------------------------------------------------------------------------------------

    def _find(self, head: Head) -> ResolvedRoute | Answer:
        path = head.path
        if self.ongoing >= self._max_ongoing:
            return _BUSY
        if self._routes is None:
            return NO_ROUTES
        resolved = self._routes.match(path)
        if resolved is None:
            if not self._any_route:
                return _NOTHING_YET
            return Answer(
                404, f"No application serves {path!r}. GET /-/routes lists the routes there are."
            )
        if resolved.methods is not None and head.method not in resolved.methods:
            allowed = ", ".join(sorted(resolved.methods))
            return Answer(
                405,
                f"{head.method} is not allowed for {resolved.route.prefix}; allowed: {allowed}.",
                ((b"allow", allowed.encode()),),
            )
        if resolved.starting:
            text = f"The application {resolved.route.app!r} is starting; try again in a moment."
            return Answer(503, text, _SOON)
        return resolved

    def _own_answer(self, head: Head) -> Answer:
        """Return the answer to a request for one of the proxy's own paths."""
        return self._system.answer(head, self._routes, draining=self.draining)

    def _refuse(
        self, exchange: Exchange, answer: Answer, request_id: str
    ) -> Coroutine[Any, Any, None] | None:
        if exchange.write_paused:
            return _answer_when_read(exchange, answer, request_id)
        send_answer(exchange, answer, request_id)
        return None

    def _deny(
        self, connection: WebSocketConnection, answer: Answer, request_id: str, began: float
    ) -> None:
        connection.deny(answer, request_id)
        self._note(connection.head, request_id, "", answer.status, began)

    def _ended(self, forwarding: Forwarding, status: int) -> None:
        self.ongoing -= 1
        if self._access is not None:
            self._access.note(
                forwarding.exchange.head.method,
                forwarding.exchange.head.raw_path,
                forwarding.resolved.route.prefix,
                status,
                time.perf_counter() - forwarding.began,
                forwarding.request_id,
                forwarding.app,
            )

    def _ended_system(self, forwarding: Forwarding, status: int) -> None:
        """Note nothing: requests for the proxy's own paths are not in the access log."""

    def _ended_websocket(
        self, head: Head, request_id: str, app: str, status: int, began: float
    ) -> None:
        self._note(head, request_id, app, status, began)

    def _note(self, head: Head, request_id: str, app: str, status: int, began: float) -> None:
        """Note a request that took no route, or a WebSocket, where there is an access log.

        Args:
            app: The application that has answered; "" for the one that the path leads to.
        """
        if self._access is None:
            return
        route, owner = self._owner(head)
        seconds = time.perf_counter() - began
        self._access.note(
            head.method, head.raw_path, route, status, seconds, request_id, app or owner
        )

    def _owner(self, head: Head) -> tuple[str, str]:
        """Return the route that a path belongs to and its application, "" where it has none."""
        resolved = None if self._routes is None else self._routes.match(head.path)
        return ("", "") if resolved is None else (resolved.route.prefix, resolved.route.app)


def _failed(reply: Reply) -> bool:
    return status_of(reply.payload[0]) >= 500


def _reserved(raw_path: bytes) -> Answer | None:
    if raw_path.startswith(PREFIX):
        return Answer(404, f"There is no WebSocket at {raw_path.decode('latin-1')}.")
    return None


async def _answer_when_read(exchange: Exchange, answer: Answer, request_id: str) -> None:
    await exchange.drain()
    send_answer(exchange, answer, request_id)
