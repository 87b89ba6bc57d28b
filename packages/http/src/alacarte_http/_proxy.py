"""The HTTP proxy: a node service that listens, routes and forwards."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Mapping
from typing import Any

import uvicorn

from alacarte.errors import ConfigError
from alacarte.types import Runtime

from ._access import open_log
from ._app import ProxyApp
from ._protocol import ProxyConnection

__all__ = ["HttpProxy"]

_BACKLOG = 2048
_TICK_S = 0.01


class HttpProxy:
    """A `NodeService` that answers HTTP on one address. Runs on its actor's event loop."""

    def __init__(self) -> None:
        self._app: ProxyApp | None = None
        self._server: uvicorn.Server | None = None
        self._ticking: asyncio.Task[None] | None = None
        self._socket: socket.socket | None = None

    async def start(self, runtime: Runtime) -> Mapping[str, str]:
        options = runtime.config.section("http")
        self._socket = listening_socket(options.host, options.port)
        access = None
        if options.access_log != "off":
            access = open_log(options.access_log, options.access_log_path)
        self._app = ProxyApp(runtime, options, access)
        self._server = await _started(self._app, self._socket, options)
        self._ticking = asyncio.create_task(self._server.main_loop())
        runtime.watch_routes(self._app.update)
        host, port = self._socket.getsockname()[:2]
        name = f"[{host}]" if ":" in host else host
        return {"url": f"http://{name}:{port}/"}

    async def drain(self) -> None:
        """Stop listening; answer what was accepted."""
        if self._server is None or self._app is None:
            return
        self._app.draining = True
        self._server.should_exit = True
        for listener in self._server.servers:
            listener.close()
        for connection in list(self._server.server_state.connections):
            connection.shutdown()
        while self._server.server_state.connections:  # noqa: ASYNC110  uvicorn tells nobody
            await asyncio.sleep(_TICK_S)

    async def stop(self) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
        if self._server is not None:
            for listener in self._server.servers:
                listener.close()
            for connection in list(self._server.server_state.connections):
                connection.transport.abort()
        if self._socket is not None:
            self._socket.close()
        if self._app is not None:
            await self._app.close()


def listening_socket(host: str, port: int) -> socket.socket:
    """Return a socket bound to an address.

    Raises:
        ConfigError: The port is in use, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"http: port {port} on {host} is in use; stop what listens there, or choose "
                "another with http_options={'port': …} (`serve run --port`)."
            ) from None
        raise ConfigError(f"http: cannot listen on {host} port {port}: {error.strerror}.") from None
    listener.setblocking(False)
    return listener


async def _started(app: ProxyApp, listener: socket.socket, options: Any) -> uvicorn.Server:
    """Return a uvicorn server on our loop, without its signal handlers and its logging."""
    config = uvicorn.Config(
        app,
        http=ProxyConnection,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=options.keep_alive_timeout_s,
    )
    config.load()
    # It warns of each malformed request in a line or two, as often as a client likes.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])
    # The date header is set by the first tick; requests may come before the loop's.
    await server.on_tick(0)
    return server
