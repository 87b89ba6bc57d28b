"""Connections and edge handler of a proxy that a plugin observes.

They are subclasses, so that a proxy without an observer has no cost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import cast

from alacarte.transports import CountingTransport
from alacarte.types import EdgeObserver, EdgeRequest

from .._edge.edge import Edge
from .._edge.exchange import Exchange
from .._edge.head import Head
from .._edge.head_checks import Refusal
from .._edge.http_connection import HttpConnection
from .._edge.reader import Upgrade
from .._local_response import LocalResponse
from .._websocket.websocket_connection import WebSocketConnection
from .forwarding import Forwarding
from .proxy_app import ProxyApp

__all__ = ["ObservedApp", "ObservedConnection", "ObservedWebSocket"]


class ObservedConnection(HttpConnection):
    """A client's HTTP connection that reports to an observer.

    Args:
        observer: Observer of one or several plugins; never raises.
    """

    def __init__(self, edge: Edge, observer: EdgeObserver) -> None:
        super().__init__(edge)
        self._observer = observer
        self._refused_exchange: Exchange | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._observer.opened()
        super().connection_made(
            cast(asyncio.Transport, CountingTransport(transport, self._observer.sent))
        )

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._observer.closed()

    def data_received(self, data: bytes) -> None:
        if self._successor is None:
            self._observer.received(len(data))
        super().data_received(data)

    def _upgrade(self, upgrade: Upgrade) -> None:
        super()._upgrade(upgrade)
        if isinstance(self._successor, ObservedWebSocket):
            self._successor.counts_received = True  # bytes that came with the head are counted

    def _begin(self, exchange: Exchange) -> None:
        if exchange.head.raw_path == b"*":  # the connection itself responds
            self._observer.ended(_describe_unrouted(exchange, 200))
        super()._begin(exchange)

    def _handle_refusal(self, refusal: Refusal) -> None:
        self._refused_exchange = self._receiving
        super()._handle_refusal(refusal)

    def _write_refusal(self, refusal: Refusal) -> None:
        request = _describe_unrouted(self._refused_exchange, refusal.status)
        self._observer.refused(request, refusal.text)
        super()._write_refusal(refusal)


class ObservedWebSocket(WebSocketConnection):
    """A client's WebSocket that reports to an observer; its transport counts the bytes sent.

    Attributes:
        observer: Set when the connection is made.
        counts_received: Received bytes are counted here, no longer by the HTTP connection.
    """

    observer: EdgeObserver
    counts_received = False

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.observer.closed()

    def data_received(self, data: bytes) -> None:
        if self.counts_received:
            self.observer.received(len(data))
        super().data_received(data)


class ObservedApp(ProxyApp):
    """A `ProxyApp` that reports its requests to an observer.

    Attributes:
        observer: Observer of one or several plugins; never raises. Set before the first request.
    """

    observer: EdgeObserver
    is_timed = True

    def _refuse(
        self, exchange: Exchange, response: LocalResponse, request_id: str
    ) -> Coroutine[object, None, None] | None:
        self._report_response("http", exchange.head, response, request_id)
        return super()._refuse(exchange, response, request_id)

    def _deny(
        self,
        connection: WebSocketConnection,
        response: LocalResponse,
        request_id: str,
        started_at: float,
    ) -> None:
        self._report_response("websocket", connection.head, response, request_id)
        super()._deny(connection, response, request_id, started_at)

    def _on_end(self, forwarding: Forwarding, status: int) -> None:
        super()._on_end(forwarding, status)
        self._report_end(forwarding, status)

    def _on_system_end(self, forwarding: Forwarding, status: int) -> None:
        super()._on_system_end(forwarding, status)
        self._report_end(forwarding, status)

    def _on_websocket_end(
        self, head: Head, request_id: str, app: str, status: int, started_at: float
    ) -> None:
        super()._on_websocket_end(head, request_id, app, status, started_at)
        seconds = time.perf_counter() - started_at
        request = self._describe_request("websocket", head, request_id, app, status, seconds)
        self.observer.ended(request)

    def _report_end(self, forwarding: Forwarding, status: int) -> None:
        head = forwarding.exchange.head
        self.observer.ended(
            EdgeRequest(
                "http",
                head.method,
                head.raw_path.decode("latin-1"),
                forwarding.resolved.route.prefix,
                forwarding.app,
                forwarding.request_id,
                status,
                time.perf_counter() - forwarding.started_at,
            )
        )

    def _report_response(
        self, protocol: str, head: Head, response: LocalResponse, request_id: str
    ) -> None:
        request = self._describe_request(protocol, head, request_id, "", response.status, 0.0)
        if response.status < 400:  # one of the proxy's own paths
            self.observer.ended(request)
        else:
            self.observer.refused(request, response.text)

    def _describe_request(
        self, protocol: str, head: Head, request_id: str, app: str, status: int, seconds: float
    ) -> EdgeRequest:
        route, owner = self._owner(head)
        path = head.raw_path.decode("latin-1")
        return EdgeRequest(
            protocol, head.method, path, route, app or owner, request_id, status, seconds
        )


def _describe_unrouted(exchange: Exchange | None, status: int) -> EdgeRequest:
    """Return the description of a request that the connection itself responds to.

    Args:
        exchange: None if the request's head could not be read.
    """
    method = path = ""
    if exchange is not None:
        method, path = exchange.head.method, exchange.head.raw_path.decode("latin-1")
    return EdgeRequest("http", method, path, "", "", "", status, 0.0)
