"""The server of a proxy process: uvicorn's, with connections of our own."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import time
import weakref
from typing import Any

import uvicorn

from .._edge.edge import Edge
from .._edge.http_connection import HttpConnection
from .._edge.limits import edge_limits
from .._websocket.websocket_connection import WebSocketConnection
from ..config import HTTPOptions
from .app import ProxyApp
from .observed import ObservedApp, ObservedConnection, ObservedWebSocket
from .shared_socket import BACKLOG

__all__ = ["ProxyServer"]

_TICK_S = 0.01
_SLOW_TICK_S = 0.1
_HANDSHAKE_END_S = 1.0
"""For TLS handshakes in progress, when no successor takes over the address."""


class ProxyServer(uvicorn.Server):
    """Accepts connections for the proxy's application, and lets them end.

    uvicorn serves: `Config(http=...)` names what makes a connection, `serve` runs until
    `should_exit`. Connections are counted by the edge and drained by `wind_down`, so uvicorn's own
    shutdown finds none.
    """

    def __init__(self, app: ProxyApp, options: HTTPOptions, tls: ssl.SSLContext | None) -> None:
        observer = app.observer if isinstance(app, ObservedApp) else None

        def websocket() -> WebSocketConnection:
            max_bytes = options.max_websocket_message_bytes
            given = (app.websocket, edge.connections, edge.tasks, max_bytes)
            if observer is None:
                return WebSocketConnection(*given)
            observed = ObservedWebSocket(*given)
            observed.observer = observer
            return observed

        self._observer = observer
        edge = self._edge = Edge(app, edge_limits(options), websocket)
        self._tls: dict[str, Any] = {}
        if tls is not None:
            self._tls = {"ssl": tls, "ssl_handshake_timeout": options.receive_head_timeout_s}
        self._accepts = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._new: weakref.WeakSet[HttpConnection] = weakref.WeakSet()
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
        """Connections that are ready for requests, or have one."""
        return len(self._edge.connections)

    async def start(self, listener: socket.socket) -> None:
        """Accept connections from a listening socket; return when that has begun."""
        # A duplicate: uvicorn closes its socket as it stops accepting, the proxy its own later.
        serving = self._serving = asyncio.create_task(self.serve([listener.dup()]))
        accepts = asyncio.create_task(self._accepts.wait())
        await asyncio.wait((serving, accepts), return_when=asyncio.FIRST_COMPLETED)
        accepts.cancel()
        if serving.done():
            await serving

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections; a TLS handshake may take as long as a request's head.

        uvicorn bounds no handshake.
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
            # The edge counts a connection from the end of its handshake on.
            self._new.add(made)
        return made

    def stop_accepting(self) -> None:
        """Accept no more; connections in the listening socket's queue stay there."""
        if self.started:
            for each in self.servers:
                each.close()
        self.should_exit = True

    def accept_waiting(self, listener: socket.socket) -> None:
        """Accept the connections in the queue: no other process will."""
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

    @property
    def _is_shaking_hands(self) -> bool:
        """Whether a connection is in the middle of its TLS handshake."""
        if not any(not each.connected for each in self._new):
            return False
        gc.collect()  # a handshake that failed is not reported: its connection is garbage
        return any(not each.connected for each in self._new)

    async def wind_down(self, linger_s: float | None) -> None:
        """Return when every connection has had its answers and is gone.

        Args:
            linger_s: How long one without a request may still send one; None for a moment.
        """
        self._edge.draining = True
        wound_down: weakref.WeakSet[Any] = weakref.WeakSet()
        give_up_at = time.monotonic() + (_HANDSHAKE_END_S if linger_s is None else linger_s)
        while True:
            # The loop makes connections a few turns after it has accepted them.
            await asyncio.sleep(_TICK_S)
            for connection in list(self._edge.connections):
                if connection not in wound_down:
                    wound_down.add(connection)
                    if linger_s is None:
                        connection.wind_down()
                    else:
                        connection.wind_down(linger_s)
            if self.num_connections or self._tasks:
                continue
            if time.monotonic() > give_up_at or not self._is_shaking_hands:
                return
            await asyncio.sleep(_SLOW_TICK_S)

    async def stop(self) -> None:
        """End at once, connections included."""
        self.stop_accepting()
        for task in self._tasks:
            task.cancel()
        for connection in list(self._edge.connections):
            connection.abort()
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.wait((self._serving,))  # whoever cancels this is heard
            if not self._serving.cancelled():
                self._serving.result()


async def _no_asgi(scope: object, receive: object, send: object) -> None:
    """uvicorn asks for an ASGI application; connections of ours call none."""
    raise NotImplementedError
