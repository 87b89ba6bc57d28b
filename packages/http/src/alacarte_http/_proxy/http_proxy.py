"""The HTTP proxy: a node service that listens, routes and forwards."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Mapping

from alacarte.layers import order_stages
from alacarte.types import EdgeObserver, HookResult, RouteTable, Runtime

from ..config import HTTPOptions
from ..layers import HttpRoute
from .access_log import AccessLogWriter, open_access_log
from .layer_builder import HttpLayers, describe_route
from .observed_connections import ObservedApp
from .preflight import check_exposure
from .proxy_app import ProxyApp
from .proxy_server import ProxyServer
from .shared_socket import ListenerOffer, obtain_listener
from .tls_context import server_context

__all__ = ["HttpProxy"]

log = logging.getLogger("alacarte.http")

_ROUTES_TIMEOUT_S = 5.0
"""How long a new process waits for the route table before it accepts connections without one."""
_IDLE_CLOSE_MARGIN_S = 1.0
"""How long before the end of a drain idle connections are closed."""


class HttpProxy:
    """The `NodeService` that serves HTTP on one address. Runs on its actor's event loop."""

    def __init__(self) -> None:
        self._app: ProxyApp | None = None
        self._server: ProxyServer | None = None
        self._listener: socket.socket | None = None
        self._offer: ListenerOffer | None = None

    async def start(self, runtime: Runtime) -> Mapping[str, str]:
        options: HTTPOptions = runtime.config.section("http")
        context = runtime.service_context
        assert context is not None
        assert options.host is not None
        check_exposure(options)
        tls = server_context(options)
        self._listener = await obtain_listener(context, options.host, options.port)
        access_log = None
        if options.access_log != "off":
            access_log = open_access_log(options.access_log, options.access_log_path)
        self._app = _make_app(runtime, options, access_log)
        await self._wait_for_routes(runtime, self._app)
        self._server = ProxyServer(self._app, options, tls)
        await self._server.start(self._listener)
        self._offer = ListenerOffer(self._listener, context.new_socket())
        host, port = self._listener.getsockname()[:2]
        name = f"[{host}]" if ":" in host else host
        scheme = "http" if tls is None else "https"
        return {"url": f"{scheme}://{name}:{port}/", "port": str(port)}

    async def drain(self, limit_s: float, *, replaced: bool) -> None:
        """Stop accepting connections, and respond to the requests of accepted ones.

        Without a new process, connections in the listening socket's queue count as accepted.
        """
        if self._server is None or self._app is None or self._listener is None:
            return
        self._app.draining = True
        await self._close_offer()
        self._server.stop_accepting()
        if not replaced:
            self._server.accept_queued(self._listener)
        self._listener.close()
        linger_s = max(limit_s - _IDLE_CLOSE_MARGIN_S, limit_s / 2) if replaced else None
        try:
            async with asyncio.timeout(limit_s):
                await self._server.drain(linger_s)
        except TimeoutError:
            log.warning(
                "http: %d connections are still open after draining for %g s",
                self._server.num_connections,
                limit_s,
            )

    async def stop(self) -> None:
        await self._close_offer()
        if self._server is not None:
            await self._server.stop()
        if self._listener is not None:
            self._listener.close()
        if self._app is not None:
            await self._app.close()

    async def _wait_for_routes(self, runtime: Runtime, app: ProxyApp) -> None:
        """Wait for the route table, so that connections in the queue are not refused."""
        known = asyncio.Event()

        def changed(table: RouteTable) -> None:
            app.update(table)
            known.set()

        runtime.watch_routes(changed)
        try:
            async with asyncio.timeout(_ROUTES_TIMEOUT_S):
                await known.wait()
        except TimeoutError:
            log.warning(
                "http: no route table after %g s; the proxy responds 503 until it arrives",
                _ROUTES_TIMEOUT_S,
            )

    async def _close_offer(self) -> None:
        offer, self._offer = self._offer, None
        if offer is not None:
            await offer.close()


def _make_app(
    runtime: Runtime, options: HTTPOptions, access_log: AccessLogWriter | None
) -> ProxyApp:
    """Return the handler of the proxy's edge; an `ObservedApp` if a plugin observes the edge."""
    layers = _make_layers(runtime)
    observer = runtime.observe("edge", EdgeObserver, "http")
    if observer is None:
        return ProxyApp(runtime, options, access_log, layers)
    app = ObservedApp(runtime, options, access_log, layers)
    app.observer = observer
    return app


def _make_layers(runtime: Runtime) -> HttpLayers | None:
    """Return the builder of plugins' layers, None if no plugin implements `wrap_http`."""
    hooks = runtime.hooks
    if not hooks.implements("wrap_http"):
        return None

    def collect(route: HttpRoute) -> list[HookResult]:
        subject = describe_route(route)
        return hooks.call("wrap_http", subject=subject, route=route, config=runtime.config)

    stages = order_stages(hooks.registered("register_layer_stages").values())
    return HttpLayers(collect, stages, hooks.failures.note)
