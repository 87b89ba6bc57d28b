"""A server of the edge's connections with a small application, on asyncio's loop or uvloop."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from alacarte.testing import wait_until
from alacarte_http._edge.edge import Edge
from alacarte_http._edge.edge_limits import edge_limits
from alacarte_http._edge.exchange import ClientDisconnected, Exchange
from alacarte_http._edge.http_connection import HttpConnection
from alacarte_http._head_codec import ResponseHead
from alacarte_http.config import HTTPOptions

from ..gates import WAIT_S
from ..wire import Wire

__all__ = ["EdgeServer"]


class EdgeServer:
    """A server in a thread.

    `/` answers at once, telling what it read; `/stay` when `let_go` was called; `/stream` sends a
    part, and another one with the end when `let_go` was called; `/stay-and-stream` does both, one
    `let_go` for each; `/big` sends 32 MB; `/upload` reads its body when `let_go` was called.

    Attributes:
        entered: Released by each handler that waits.
        cancelled: Released by each handler that is cancelled.
    """

    def __init__(self, new_loop: Callable[[], asyncio.AbstractEventLoop], **options: Any) -> None:
        self.entered = threading.Semaphore(0)
        self.cancelled = threading.Semaphore(0)
        self._options = HTTPOptions(**options)
        self._loop = new_loop()
        self._open: asyncio.Event
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.do(self._start())

    def do(self, coroutine: Any) -> Any:
        """Run a coroutine on the server's loop."""
        future: Future[Any] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        return future.result(WAIT_S)

    def call(self, function: Callable[[], Any]) -> Any:
        """Call a function on the server's loop."""

        async def call() -> Any:
            return function()

        return self.do(call())

    def wire(self, **options: Any) -> Wire:
        return Wire(self.port, **options)

    def let_go(self) -> None:
        """Let the waiting handlers continue."""
        self.call(self._open.set)

    def drain(self) -> None:
        """Stop accepting, and drain all connections."""

        def drain() -> None:
            self._server.close()
            for connection in list(self.edge.connections):
                connection.drain()

        self.call(drain)

    def wait_for_connections(self, count: int) -> None:
        wait_until(lambda: len(self.edge.connections) == count, timeout_s=WAIT_S)

    def wait_until_empty(self) -> None:
        """Wait until nothing is left of any connection or request."""
        wait_until(lambda: not self.edge.connections and not self.edge.tasks, timeout_s=WAIT_S)

    def stop(self) -> None:
        self.call(self._abort)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_S)
        self._loop.close()
        self._socket.close()

    def _abort(self) -> None:
        self._server.close()
        for connection in list(self.edge.connections):
            connection.abort()

    async def _start(self) -> None:
        self._open = asyncio.Event()
        self.edge = Edge(self._app, edge_limits(self._options))
        self._server = await self._loop.create_server(
            lambda: HttpConnection(self.edge), sock=self._socket, backlog=2048
        )

    async def _app(self, exchange: Exchange) -> None:
        try:
            await self._answer(exchange)
        except asyncio.CancelledError:
            self.cancelled.release()
            raise

    async def _answer(self, exchange: Exchange) -> None:
        path = exchange.head.path
        if path in ("/stay", "/upload", "/stay-and-stream"):
            self.entered.release()
            await self._open.wait()
        if path == "/stay-and-stream":
            self._open.clear()
        size, more = 0, path != "/early"
        while more:
            try:
                size += len(await exchange.read())
            except ClientDisconnected:
                return
            more = exchange.more_body
        body = b"x" * (32 << 20) if path == "/big" else b"%s %d" % (path.encode(), size)
        await exchange.drain()
        if path.endswith("stream"):
            await exchange.start(ResponseHead(200, b"", None, False), b"")
            await exchange.write(b"first")
            self.entered.release()
            await self._open.wait()
            await exchange.write(body)
            await exchange.end()
        else:
            exchange.respond(ResponseHead(200, b"", None, False), b"", body)
