"""The server of a proxy process: uvicorn's server with `HttpConnection` as its protocol."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import time
import weakref
from typing import Any

import uvicorn

from .._edge.edge import Edge, OpenConnection
from .._edge.edge_limits import edge_limits
from .._edge.http_connection import HttpConnection
from .._websocket.websocket_connection import WebSocketConnection
from ..config import HTTPOptions
from .observed_connections import ObservedApp, ObservedConnection, ObservedWebSocket
from .proxy_app import ProxyApp
from .shared_socket import BACKLOG

__all__ = ["ProxyServer"]

_POLL_INTERVAL_S = 0.01
_TLS_HANDSHAKE_POLL_INTERVAL_S = 0.1
_TLS_HANDSHAKE_TIMEOUT_S = 1.0
"""Time for TLS handshakes in progress if no new proxy takes over the address."""


class ProxyServer(uvicorn.Server):
    """Accepts connections for the handler of the proxy's edge, and drains them.

    uvicorn creates connections through `Config(http=...)`, and `serve` runs until `should_exit`.
    The edge counts connections and `drain` closes them, so that uvicorn's shutdown finds none.
    """

    def __init__(self, app: ProxyApp, options: HTTPOptions, tls: ssl.SSLContext | None) -> None:
        observer = app.observer if isinstance(app, ObservedApp) else None

        def websocket() -> WebSocketConnection:
            max_bytes = options.max_websocket_message_bytes
            arguments = (app.websocket, edge.connections, edge.tasks, max_bytes)
            if observer is None:
                return WebSocketConnection(*arguments)
            observed = ObservedWebSocket(*arguments)
            observed.observer = observer
            return observed

        self._observer = observer
        edge = self._edge = Edge(app, edge_limits(options), websocket)
        self._tls: dict[str, Any] = {}
        if tls is not None:
            self._tls = {"ssl": tls, "ssl_handshake_timeout": options.receive_head_timeout_s}
        self._accepts = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[object]] = set()
        self._tls_handshaking: weakref.WeakSet[HttpConnection] = weakref.WeakSet()
        super().__init__(
            uvicorn.Config(
                _no_asgi,
                http=self._connection,  # type: ignore[arg-type]  # called like a class
                ws="none",
                lifespan="off",
                interface="asgi3",
                proxy_headers=False,
                access_log=False,
                log_config=None,
                backlog=BACKLOG,
            )
        )

    @property
    def num_connections(self) -> int:
        """Open connections, without TLS handshakes in progress."""
        return len(self._edge.connections)

    async def start(self, listener: socket.socket) -> None:
        """Accept connections from a listening socket; return once accepting has begun."""
        # A duplicate: uvicorn closes its socket when it stops accepting, the proxy later.
        serving = self._serving = asyncio.create_task(self.serve([listener.dup()]))
        accepts = asyncio.create_task(self._accepts.wait())
        await asyncio.wait((serving, accepts), return_when=asyncio.FIRST_COMPLETED)
        accepts.cancel()
        if serving.done():
            await serving

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections, with the timeout of a request's head for TLS handshakes.

        uvicorn sets no timeout of its own for TLS handshakes.
        """
        if self._tls:
            loop = asyncio.get_running_loop()
            self.servers = [
                await loop.create_server(self._connection, sock=sock, backlog=BACKLOG, **self._tls)
                for sock in sockets or ()
            ]
            self.started = True
        else:
            await super().startup(sockets)
        self._accepts.set()

    def _connection(self, **_: object) -> HttpConnection:
        if self._observer is None:
            made = HttpConnection(self._edge)
        else:
            made = ObservedConnection(self._edge, self._observer)
        if self._tls:
            # The edge counts a connection only after its TLS handshake.
            self._tls_handshaking.add(made)
        return made

    def stop_accepting(self) -> None:
        """Stop accepting connections; those in the listening socket's queue stay there."""
        if self.started:
            for each in self.servers:
                each.close()
        self.should_exit = True

    def accept_queued(self, listener: socket.socket) -> None:
        """Accept the connections in the socket's queue when no other process will."""
        loop = asyncio.get_running_loop()
        for _ in range(BACKLOG):
            try:
                client, _ = listener.accept()
            except OSError:
                return
            client.setblocking(False)
            task = loop.create_task(
                loop.connect_accepted_socket(self._connection, client, **self._tls)
            )
            self._tasks.add(task)
            task.add_done_callback(self._on_accepted)

    def _on_accepted(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not log a failed TLS handshake

    @property
    def _has_tls_handshakes(self) -> bool:
        """Whether a TLS handshake is in progress."""
        if not any(not each.connected for each in self._tls_handshaking):
            return False
        gc.collect()  # removes connections of failed TLS handshakes, unreported by asyncio
        return any(not each.connected for each in self._tls_handshaking)

    async def drain(self, linger_s: float | None) -> None:
        """Wait until every connection has its responses and is closed.

        Args:
            linger_s: How long idle connections stay open for another request; None for
                `DRAIN_LINGER_S`.
        """
        self._edge.draining = True
        draining: weakref.WeakSet[OpenConnection] = weakref.WeakSet()
        deadline = time.monotonic() + (_TLS_HANDSHAKE_TIMEOUT_S if linger_s is None else linger_s)
        while True:
            # asyncio creates connections a few iterations after it has accepted them.
            await asyncio.sleep(_POLL_INTERVAL_S)
            for connection in list(self._edge.connections):
                if connection not in draining:
                    draining.add(connection)
                    if linger_s is None:
                        connection.drain()
                    else:
                        connection.drain(linger_s)
            if self.num_connections or self._tasks:
                continue
            if time.monotonic() > deadline or not self._has_tls_handshakes:
                return
            await asyncio.sleep(_TLS_HANDSHAKE_POLL_INTERVAL_S)

    async def stop(self) -> None:
        """Abort all connections and stop."""
        self.stop_accepting()
        for task in self._tasks:
            task.cancel()
        for connection in list(self._edge.connections):
            connection.abort()
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.wait((self._serving,))  # unlike awaiting it, keeps our own cancellation
            if not self._serving.cancelled():
                self._serving.result()


async def _no_asgi(scope: object, receive: object, send: object) -> None:
    """Stand in for the ASGI application that uvicorn requires and `HttpConnection` never calls."""
    raise NotImplementedError
