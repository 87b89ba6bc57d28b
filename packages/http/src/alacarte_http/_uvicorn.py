"""The parts of uvicorn that the proxy is made of. The only module that knows them.

uvicorn promises its command, `Config`, `Server.run` and `Server.serve`. What stands here may be
renamed in any of its releases; `tests/contract/test_private_names.py` lists it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import uvicorn
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

__all__ = [
    "HIGH_WATER_LIMIT",
    "STATUS_LINE",
    "HttpConnection",
    "Peers",
    "Server",
    "UpgradedConnection",
    "peers",
]


class HttpConnection(HttpToolsProtocol):
    """uvicorn's connection of a client, with its parts as the proxy's subclass uses them.

    Attributes:
        app: The ASGI application.
        client: Address of the client.
        connections: All connections of the server; this one puts itself among them.
        cycle: The exchange whose request was received last.
        flow: Pauses and resumes reading; knows whether writing is paused.
        headers: Of the request that is being received.
        loop: The event loop.
        parser: httptools' parser, which calls the methods `on_…`.
        scheme: `http` or `https`.
        scope: ASGI's, of the request that was received last.
        server: Address that the client connected to.
        tasks: The server's running exchanges.
        transport: Of the socket, once connected.
        url: Target of the request that is being received.
    """

    cycle: Any
    parser: Any
    scope: Any
    url: bytes

    @property
    def asks_for_websocket(self) -> bool:
        """Whether the headers ask to go on as a WebSocket."""
        return self._should_upgrade()

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """Headers of every response: a new list each second, with the date."""
        return self.server_state.default_headers

    def go_on_as_websocket(self) -> asyncio.BaseProtocol:
        """Give the socket and the request to a protocol of its own; return that."""
        self.handle_websocket_upgrade()
        return self.transport.get_protocol()


class UpgradedConnection(asyncio.Protocol):
    """The protocol that takes over a connection which has asked for a WebSocket.

    The request arrives in `data_received`, written out again.

    Attributes:
        app: The ASGI application.
        connections: All connections of the server; the subclass puts itself among them.
        max_message_bytes: See `HTTPOptions.max_websocket_message_bytes`.
        tasks: The server's running applications.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.app: Any = config.loaded_app
        self.max_message_bytes = config.ws_max_size
        self.connections: set[Any] = server_state.connections
        self.tasks = server_state.tasks
        self.loop = _loop or asyncio.get_running_loop()


class Peers(NamedTuple):
    """Both ends of a socket, as ASGI has them, and whether TLS is between them."""

    client: tuple[str, int] | None
    server: tuple[str, int | None] | None
    secure: bool


def peers(transport: asyncio.Transport) -> Peers:
    """Return the ends of a transport's socket."""
    return Peers(get_remote_addr(transport), get_local_addr(transport), is_ssl(transport))


class Server:
    """uvicorn's connections on our loop, without its signal handlers, sockets and logging.

    Args:
        app: The ASGI application.
        http: Makes a connection, with the keyword arguments of `HttpConnection`.
        websocket: Makes the protocol that takes over an upgraded one.
        max_websocket_message_bytes: See `HTTPOptions`.
    """

    def __init__(
        self,
        app: Any,
        http: Callable[..., HttpConnection],
        websocket: Callable[..., UpgradedConnection],
        *,
        max_websocket_message_bytes: int,
    ) -> None:
        self._config = uvicorn.Config(
            app,
            http=http,  # type: ignore[arg-type]  # a maker will do
            ws=websocket,  # type: ignore[arg-type]
            ws_max_size=max_websocket_message_bytes,
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
        )
        self._config.load()
        # It warns of each malformed request in a line or two, as often as a client likes.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        self._server = uvicorn.Server(self._config)
        self._clock: asyncio.Task[None] | None = None

    @property
    def connections(self) -> list[Any]:
        """Those that are ready for requests, or have one."""
        return list(self._server.server_state.connections)

    async def start(self) -> None:
        """Begin to renew what every response has, such as the date."""
        # The first time now: requests may come before the loop's first tick.
        await self._server.on_tick(0)
        self._clock = asyncio.create_task(self._server.main_loop())

    def stop(self) -> None:
        """End what `start` began."""
        if self._clock is not None:
            self._clock.cancel()

    def new_connection(self) -> Any:
        """Return the protocol for a socket that was accepted."""
        return self._config.http_protocol_class(  # type: ignore[call-arg]
            config=self._config, server_state=self._server.server_state, app_state={}
        )
