"""The HTTP proxy: a node service that listens, routes and forwards."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import ssl
import time
import weakref
from collections.abc import Mapping
from typing import Any

from alacarte.types import RouteTable, Runtime

from .._edge.connection import Connection
from .._edge.edge import Edge
from .._edge.limits import edge_limits
from .._websocket.connection import WebSocketConnection
from .access import open_log
from .app import ProxyApp
from .listener import BACKLOG, Offer, obtain
from .preflight import refuse_strangers
from .tls import server_context

__all__ = ["HttpProxy"]

log = logging.getLogger("alacarte.http")

_TICK_S = 0.01
_ROUTES_S = 5.0
"""How long clients may wait for a new process to know the routes, before it says so."""
_SLOW_TICK_S = 0.1
_HANDSHAKE_END_S = 1.0
"""For TLS handshakes in progress, when nobody comes after us."""
_IDLE_END_S = 1.0
"""How long before the end of a drain connections without a request are closed."""


class HttpProxy:
    """A `NodeService` that answers HTTP on one address. Runs on its actor's event loop."""

    def __init__(self) -> None:
        self._app: ProxyApp | None = None
        self._server: _Server | None = None
        self._listener: socket.socket | None = None
        self._offer: Offer | None = None

    async def start(self, runtime: Runtime) -> Mapping[str, str]:
        options = runtime.config.section("http")
        place = runtime.place
        assert place is not None
        refuse_strangers(options)
        tls = server_context(options)
        self._listener = await obtain(place, options.host, options.port)
        access = None
        if options.access_log != "off":
            access = open_log(options.access_log, options.access_log_path)
        self._app = ProxyApp(runtime, options, access)
        await self._know_routes(runtime, self._app)
        self._server = _Server(self._app, options, tls)
        await self._server.start(self._listener)
        self._offer = Offer(self._listener, place.new_socket())
        host, port = self._listener.getsockname()[:2]
        name = f"[{host}]" if ":" in host else host
        scheme = "http" if tls is None else "https"
        return {"url": f"{scheme}://{name}:{port}/", "port": str(port)}

    async def drain(self, limit_s: float, *, replaced: bool) -> None:
        """Accept no more, and answer what was accepted.

        Without a successor, what waits in the listening socket's queue counts as accepted.
        """
        if self._server is None or self._app is None or self._listener is None:
            return
        self._app.draining = True
        await self._close_offer()
        self._server.stop_accepting()
        if not replaced:
            self._server.accept_waiting(self._listener)
        self._listener.close()
        linger_s = max(limit_s - _IDLE_END_S, limit_s / 2) if replaced else None
        try:
            async with asyncio.timeout(limit_s):
                await self._server.wind_down(linger_s)
        except TimeoutError:
            log.warning("%d connections did not end in %g s", self._server.open, limit_s)

    async def stop(self) -> None:
        await self._close_offer()
        if self._server is not None:
            await self._server.stop()
        if self._listener is not None:
            self._listener.close()
        if self._app is not None:
            await self._app.close()

    async def _know_routes(self, runtime: Runtime, app: ProxyApp) -> None:
        """Return when the routes are known: what waits in the queue is not to be refused."""
        known = asyncio.Event()

        def changed(table: RouteTable) -> None:
            app.update(table)
            known.set()

        runtime.watch_routes(changed)
        try:
            async with asyncio.timeout(_ROUTES_S):
                await known.wait()
        except TimeoutError:
            log.warning("no routes are known after %g s; until then all is answered 503", _ROUTES_S)

    async def _close_offer(self) -> None:
        offer, self._offer = self._offer, None
        if offer is not None:
            await offer.close()


class _Server:
    """Accepts connections for the proxy's application, and lets them end."""

    def __init__(self, app: ProxyApp, options: Any, tls: ssl.SSLContext | None) -> None:
        def websocket() -> WebSocketConnection:
            max_bytes = options.max_websocket_message_bytes
            return WebSocketConnection(app.websocket, edge.connections, edge.tasks, max_bytes)

        edge = self._edge = Edge(app, edge_limits(options), websocket)
        self._tls: dict[str, Any] = {}
        if tls is not None:
            self._tls = {"ssl": tls, "ssl_handshake_timeout": options.receive_head_timeout_s}
        self._accepting: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._new: weakref.WeakSet[Connection] = weakref.WeakSet()

    @property
    def open(self) -> int:
        """Connections that are ready for requests, or have one."""
        return len(self._edge.connections)

    @property
    def _shaking(self) -> bool:
        """Whether a connection is in the middle of its TLS handshake."""
        if not any(not each.connected for each in self._new):
            return False
        gc.collect()  # nobody tells of a handshake that failed
        return any(not each.connected for each in self._new)

    async def start(self, listener: socket.socket) -> None:
        self._accepting = await asyncio.get_running_loop().create_server(
            # A duplicate: this one is closed when we stop accepting, the listener later.
            self._connection, sock=listener.dup(), backlog=BACKLOG, **self._tls
        )  # fmt: skip

    def _connection(self) -> asyncio.Protocol:
        made = Connection(self._edge)
        if self._tls:
            # The edge counts a connection from the end of its handshake on.
            self._new.add(made)
        return made

    def stop_accepting(self) -> None:
        """Accept no more; what is in the listening socket's queue stays there."""
        if self._accepting is not None:
            self._accepting.close()
            self._accepting = None

    def accept_waiting(self, listener: socket.socket) -> None:
        """Accept what is in the queue now: nobody else will."""
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
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # a client's failed handshake is nobody's business

    async def wind_down(self, linger_s: float | None) -> None:
        """Return when every connection has had its answers and is gone.

        Args:
            linger_s: How long one without a request may still send one; None for a moment.
        """
        self._edge.draining = True
        told: weakref.WeakSet[Any] = weakref.WeakSet()
        give_up_at = time.monotonic() + (_HANDSHAKE_END_S if linger_s is None else linger_s)
        while True:
            # The loop makes connections a few turns after it has accepted them.
            await asyncio.sleep(_TICK_S)
            for connection in list(self._edge.connections):
                if connection not in told:
                    told.add(connection)
                    if linger_s is None:
                        connection.wind_down()
                    else:
                        connection.wind_down(linger_s)
            if self.open or self._tasks:
                continue
            if time.monotonic() > give_up_at or not self._shaking:
                return
            await asyncio.sleep(_SLOW_TICK_S)

    async def stop(self) -> None:
        self.stop_accepting()
        for task in self._tasks:
            task.cancel()
        for connection in list(self._edge.connections):
            connection.abort()
