"""The proxy where a plugin observes it: its connections and its application.

Subclasses, so that a proxy that nobody observes pays for none of this.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterable
from typing import Any, cast

from alacarte.types import Buffer, EdgeObserver, EdgeRequest

from .._edge.checks import Refused
from .._edge.edge import Edge
from .._edge.exchange import Exchange
from .._edge.head import Head
from .._edge.http_connection import HttpConnection
from .._edge.reader import Upgrade
from .._errors import Answer
from .._websocket.websocket_connection import WebSocketConnection
from .app import ProxyApp
from .forwarding import Forwarding

__all__ = ["ObservedApp", "ObservedConnection", "ObservedWebSocket"]


class CountingTransport:
    """A transport of whose written bytes an observer is told; else the transport itself."""

    def __init__(self, transport: asyncio.BaseTransport, observer: EdgeObserver) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._observer = observer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: Buffer) -> None:
        """Count and write."""
        self._observer.sent(len(data))
        self._transport.write(data)

    def writelines(self, parts: Iterable[Buffer]) -> None:
        """Count and write."""
        for part in parts:
            self.write(part)


class ObservedConnection(HttpConnection):
    """A client's connection, of which an observer is told.

    Args:
        observer: Of a plugin, or of several together; raises nothing.
    """

    def __init__(self, edge: Edge, observer: EdgeObserver) -> None:
        super().__init__(edge)
        self._observer = observer
        self._refused: Exchange | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._observer.opened()
        super().connection_made(
            cast(asyncio.Transport, CountingTransport(transport, self._observer))
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
            self._successor.counts_received = True  # what came with the head was counted here

    def _begin(self, exchange: Exchange) -> None:
        if exchange.head.raw_path == b"*":  # answered by the connection itself
            self._observer.ended(_unrouted(exchange, 200))
        super()._begin(exchange)

    def _refuse_read(self, refused: Refused) -> None:
        self._refused = self._receiving
        super()._refuse_read(refused)

    def _write_refusal(self, refused: Refused) -> None:
        self._observer.refused(_unrouted(self._refused, refused.status), refused.text)
        super()._write_refusal(refused)


class ObservedWebSocket(WebSocketConnection):
    """A client's WebSocket, of which an observer is told. What it sends its transport counts.

    Attributes:
        observer: Set when the connection is made.
        counts_received: Whether what arrives was not counted before.
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
    """The proxy's application, of whose requests an observer is told.

    Attributes:
        observer: Of a plugin, or of several together; raises nothing. Set before the first request.
    """

    observer: EdgeObserver
    is_timed = True

    def _refuse(
        self, exchange: Exchange, answer: Answer, request_id: str
    ) -> Coroutine[Any, Any, None] | None:
        self._tell_answer("http", exchange.head, answer, request_id)
        return super()._refuse(exchange, answer, request_id)

    def _deny(
        self, connection: WebSocketConnection, answer: Answer, request_id: str, began: float
    ) -> None:
        self._tell_answer("websocket", connection.head, answer, request_id)
        super()._deny(connection, answer, request_id, began)

    def _ended(self, forwarding: Forwarding, status: int) -> None:
        super()._ended(forwarding, status)
        self._tell_ended(forwarding, status)

    def _ended_system(self, forwarding: Forwarding, status: int) -> None:
        super()._ended_system(forwarding, status)
        self._tell_ended(forwarding, status)

    def _ended_websocket(
        self, head: Head, request_id: str, app: str, status: int, began: float
    ) -> None:
        super()._ended_websocket(head, request_id, app, status, began)
        seconds = time.perf_counter() - began
        self.observer.ended(self._described("websocket", head, request_id, app, status, seconds))

    def _tell_ended(self, forwarding: Forwarding, status: int) -> None:
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
                time.perf_counter() - forwarding.began,
            )
        )

    def _tell_answer(self, protocol: str, head: Head, answer: Answer, request_id: str) -> None:
        request = self._described(protocol, head, request_id, "", answer.status, 0.0)
        if answer.status < 400:  # one of the proxy's own paths
            self.observer.ended(request)
        else:
            self.observer.refused(request, answer.text)

    def _described(
        self, protocol: str, head: Head, request_id: str, app: str, status: int, seconds: float
    ) -> EdgeRequest:
        route, owner = self._owner(head)
        path = head.raw_path.decode("latin-1")
        return EdgeRequest(
            protocol, head.method, path, route, app or owner, request_id, status, seconds
        )


def _unrouted(exchange: Exchange | None, status: int) -> EdgeRequest:
    """Describe a request that the connection answers by itself.

    Args:
        exchange: None where the request could not be read.
    """
    method = path = ""
    if exchange is not None:
        method, path = exchange.head.method, exchange.head.raw_path.decode("latin-1")
    return EdgeRequest("http", method, path, "", "", "", status, 0.0)
