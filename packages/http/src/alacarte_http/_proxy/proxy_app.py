"""The handler of the proxy's edge: find the route of each request and forward it, or refuse it.

On the path of every request, so without a framework, a hook, pickle or logging. Runs on the proxy's
event loop.
"""

from __future__ import annotations

import time
from collections.abc import Coroutine

from alacarte.calls import new_request_id
from alacarte.types import Reply, Route, RouteTable, Runtime

from .._call_builder import CallBuilder
from .._edge.exchange import Exchange
from .._edge.head import Head
from .._head_codec import status_of
from .._local_response import LocalResponse
from .._request_options import RequestOptions, read_options
from .._resolved_route import ResolvedRoute
from .._websocket.relay import is_failure as is_websocket_failure
from .._websocket.relay import serve_websocket
from .._websocket.websocket_connection import WebSocketConnection
from ..config import HTTPOptions
from ..layers import SYSTEM
from .access_log import AccessLogWriter
from .forwarding import CLIENT_CLOSED_REQUEST, Forwarding, send_local_response
from .layer_builder import HttpLayers
from .layer_rebuild import LayerRebuild
from .layered_forwarding import LayeredForwarding, WebSocketHandshake
from .layered_routes import UNROUTED, LayeredRoutes, RouteLayers, RouteTarget
from .route_index import RouteIndex
from .system_paths import NO_ROUTES, PREFIX, SystemPaths

__all__ = ["ProxyApp"]

_RETRY_SOON = ((b"retry-after", b"1"),)
_BUSY = LocalResponse(
    503,
    "The proxy has its maximum of concurrent requests (http option max_concurrent_requests). "
    "Try again later.",
    _RETRY_SOON,
)
_NO_APPLICATION = LocalResponse(
    503, "No application is deployed yet. Try again in a moment.", _RETRY_SOON
)


class ProxyApp:
    """The handler of the proxy's edge: routes requests by the runtime's route table.

    Args:
        runtime: Runtime of this process.
        options: Options of the `http` section.
        access_log: None where requests are not logged.
        layers: Layers of plugins, None where no plugin has one.

    Attributes:
        is_timed: The time at which each request arrives is taken.
        ongoing: Requests in progress, without those for `/-/`.
    """

    is_timed = False

    def __init__(
        self,
        runtime: Runtime,
        options: HTTPOptions,
        access_log: AccessLogWriter | None = None,
        layers: HttpLayers | None = None,
    ) -> None:
        self.ongoing = 0
        self.draining = False
        self._runtime = runtime
        self._root_path = options.root_path
        self._call_builder = CallBuilder(options.request_timeout_s, options.retry_methods)
        self._max_ongoing = options.max_concurrent_requests
        self._allows_survival = options.allow_disconnect_disabled
        self._system = SystemPaths(options)
        self._access_log = access_log
        self.is_timed = self.is_timed or access_log is not None
        self._routes: RouteIndex | None = None
        self._has_had_routes = False
        self._layers = layers
        self._table = RouteTable(-1, ())
        self._layer_rebuild = LayerRebuild(self._rebuild_layers)
        self._layered: LayeredRoutes | None = None
        self._rebuild_layers()

    def update(self, table: RouteTable) -> None:
        """Use a newer route table, and connect to the deployments of its routes."""
        routes = RouteIndex(
            table.routes,
            lambda route: self._runtime.route_service(route, _is_failure),
            lambda route: self._runtime.route_service(route, is_websocket_failure),
            self._is_task_free,
            table.starting,
            self._root_path,
        )
        self._table = table
        self._rebuild_layers()  # first: no route is served without its layers
        self._routes = routes
        self._has_had_routes = self._has_had_routes or bool(table.routes)

    def _rebuild_layers(self) -> None:
        """Build the layers around all routes; keep None if no route has a layer.

        A layer that fails is built again with the next table, or after a pause.
        """
        if self._layers is not None:
            self._layered = LayeredRoutes(self._layers, self._table) or None
            self._layer_rebuild.schedule(failed=self._layers.failed)

    def _is_task_free(self, route: Route) -> bool:
        return not route.is_split and self._runtime.is_task_free(next(iter(route.targets)))

    async def close(self) -> None:
        """Stop rebuilding layers, and write the remaining lines of the access log."""
        self._layer_rebuild.close()
        if self._access_log is not None:
            await self._access_log.close()

    def __call__(self, exchange: Exchange) -> Coroutine[object, None, None] | None:
        started_at = time.perf_counter() if self.is_timed else 0.0
        head = exchange.head
        layers = None if self._layered is None else self._find_layers(self._layered, head)
        if layers is not None:
            return self._forward_through_layers(exchange, layers, started_at)
        if head.raw_path.startswith(PREFIX):
            return self._refuse(exchange, self._system_response(head), "")
        options = read_options(head.headers)
        request_id = options.request_id or new_request_id()
        found = options.refusal or self._find(head)
        if isinstance(found, LocalResponse):
            self._log_request(head, request_id, "", found.status, started_at)
            return self._refuse(exchange, found, request_id)
        if self._allows_survival and options.survives_disconnect:
            exchange.survives_disconnect = True
        self.ongoing += 1
        Forwarding(
            exchange, found, options, request_id, self._call_builder, self._on_end, started_at
        ).begin()
        return None

    async def websocket(self, connection: WebSocketConnection) -> None:
        """Serve a WebSocket from its handshake to its end."""
        started_at = time.perf_counter() if self.is_timed else 0.0
        head = connection.head
        options = read_options(head.headers)
        request_id = options.request_id or new_request_id()
        layers = None if self._layered is None else self._find_layers(self._layered, head)
        if layers is not None:
            await self._websocket_through_layers(
                connection, layers, options, request_id, started_at
            )
            return
        outcome = options.refusal or _reserved(head.raw_path) or self._find(head)
        if isinstance(outcome, LocalResponse):
            self._deny(connection, outcome, request_id, started_at)
            return
        call = self._call_builder.websocket_call(
            head, connection.peer, outcome, options, request_id, connection.messages
        )
        status = CLIENT_CLOSED_REQUEST
        try:
            status = await serve_websocket(connection, call, outcome.websocket)
        finally:
            self._on_websocket_end(head, request_id, call.app, status, started_at)

    # --- through layers -----------------------------------------------------------------

    def _find_layers(self, layered: LayeredRoutes, head: Head) -> RouteLayers | None:
        if head.raw_path.startswith(PREFIX):
            return layered.system
        resolved = None if self._routes is None else self._routes.match(head.path)
        return layered.layers_around(resolved)

    def _forward_through_layers(
        self, exchange: Exchange, layers: RouteLayers, started_at: float
    ) -> Coroutine[object, None, None] | None:
        head = exchange.head
        options = read_options(head.headers)
        request_id = options.request_id or new_request_id()
        on_end = self._on_end
        if layers.route.kind == SYSTEM:
            target = RouteTarget(layers, UNROUTED, lambda options: self._system_response(head))
            on_end = self._on_system_end
        else:
            target = self._target(head, layers)
            if self.ongoing >= self._max_ongoing:  # refused before any layer runs
                self._log_request(head, request_id, "", _BUSY.status, started_at)
                return self._refuse(exchange, _BUSY, request_id)
            if self._allows_survival and options.survives_disconnect:
                exchange.survives_disconnect = True
            self.ongoing += 1
        LayeredForwarding(
            exchange, target, options, request_id, self._call_builder, on_end, started_at
        ).begin()
        return None

    async def _websocket_through_layers(
        self,
        connection: WebSocketConnection,
        layers: RouteLayers,
        options: RequestOptions,
        request_id: str,
        started_at: float,
    ) -> None:
        head = connection.head
        reserved = _reserved(head.raw_path)
        if reserved is not None:
            target = RouteTarget(layers, UNROUTED, lambda options: reserved)
        else:
            target = self._target(head, layers)
        handshake = WebSocketHandshake(connection, target, options, self._call_builder)
        status = CLIENT_CLOSED_REQUEST
        try:
            status = await serve_websocket(connection, handshake.make_call(request_id), handshake)
        finally:
            self._on_websocket_end(head, request_id, handshake.call.app, status, started_at)

    def _target(self, head: Head, layers: RouteLayers) -> RouteTarget:
        """Return the target of a request behind its layers."""
        found = self._find(head)
        if not isinstance(found, LocalResponse):
            return RouteTarget(layers, found)
        resolved = None if self._routes is None else self._routes.match(head.path)
        return RouteTarget(layers, resolved or UNROUTED, lambda options: options.refusal or found)

    # ------------------------------------------------------------------------------------

    def _find(self, head: Head) -> ResolvedRoute | LocalResponse:
        path = head.path
        if self.ongoing >= self._max_ongoing:
            return _BUSY
        if self._routes is None:
            return NO_ROUTES
        resolved = self._routes.match(path)
        if resolved is None:
            if not self._has_had_routes:
                return _NO_APPLICATION
            return LocalResponse(
                404, f"No application serves {path!r}. GET /-/routes lists the routes."
            )
        if resolved.methods is not None and head.method not in resolved.methods:
            allowed = ", ".join(sorted(resolved.methods))
            return LocalResponse(
                405,
                f"{head.method} is not allowed for {resolved.route.prefix}. Allowed: {allowed}.",
                ((b"allow", allowed.encode()),),
            )
        if resolved.starting:
            text = f"Application {resolved.route.app!r} is starting. Try again in a moment."
            return LocalResponse(503, text, _RETRY_SOON)
        return resolved

    def _system_response(self, head: Head) -> LocalResponse:
        """Return the response to a request for one of the proxy's own paths."""
        return self._system.respond(head, self._routes, draining=self.draining)

    def _refuse(
        self, exchange: Exchange, response: LocalResponse, request_id: str
    ) -> Coroutine[object, None, None] | None:
        if exchange.write_paused:
            return _respond_after_drain(exchange, response, request_id)
        send_local_response(exchange, response, request_id)
        return None

    def _deny(
        self,
        connection: WebSocketConnection,
        response: LocalResponse,
        request_id: str,
        started_at: float,
    ) -> None:
        connection.deny(response, request_id)
        self._log_request(connection.head, request_id, "", response.status, started_at)

    def _on_end(self, forwarding: Forwarding, status: int) -> None:
        self.ongoing -= 1
        if self._access_log is not None:
            self._access_log.record(
                forwarding.exchange.head.method,
                forwarding.exchange.head.raw_path,
                forwarding.resolved.route.prefix,
                status,
                time.perf_counter() - forwarding.started_at,
                forwarding.request_id,
                forwarding.app,
            )

    def _on_system_end(self, forwarding: Forwarding, status: int) -> None:
        """Log nothing: the access log leaves out requests for the proxy's own paths."""

    def _on_websocket_end(
        self, head: Head, request_id: str, app: str, status: int, started_at: float
    ) -> None:
        self._log_request(head, request_id, app, status, started_at)

    def _log_request(
        self, head: Head, request_id: str, app: str, status: int, started_at: float
    ) -> None:
        """Log a request without a route or a WebSocket, if there is an access log.

        Args:
            app: The application that responded; "" for the application of the path's route.
        """
        if self._access_log is None:
            return
        route, owner = self._owner(head)
        seconds = time.perf_counter() - started_at
        self._access_log.record(
            head.method, head.raw_path, route, status, seconds, request_id, app or owner
        )

    def _owner(self, head: Head) -> tuple[str, str]:
        """Return the prefix and the application of a path's route, "" without a route."""
        resolved = None if self._routes is None else self._routes.match(head.path)
        return ("", "") if resolved is None else (resolved.route.prefix, resolved.route.app)


def _is_failure(reply: Reply) -> bool:
    return status_of(reply.payload[0]) >= 500


def _reserved(raw_path: bytes) -> LocalResponse | None:
    if raw_path.startswith(PREFIX):
        return LocalResponse(404, f"There is no WebSocket at {raw_path.decode('latin-1')}.")
    return None


async def _respond_after_drain(
    exchange: Exchange, response: LocalResponse, request_id: str
) -> None:
    await exchange.drain()
    send_local_response(exchange, response, request_id)
