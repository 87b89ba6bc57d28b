"""The HTTP proxy: a node service that listens, routes and forwards."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Mapping
from typing import Any

from alacarte.layers import order_stages
from alacarte.types import EdgeObserver, HookAnswer, RouteTable, Runtime

from ..layers import HttpRoute
from .access_log import AccessLogWriter, open_log
from .app import ProxyApp
from .layer_builder import HttpLayers, subject
from .observed import ObservedApp
from .preflight import refuse_strangers
from .server import ProxyServer
from .shared_socket import Offer, obtain
from .tls import server_context

__all__ = ["HttpProxy"]

log = logging.getLogger("alacarte.http")

_ROUTES_S = 5.0
"""How long clients may wait for a new process to know the routes, before it says so."""
_IDLE_END_S = 1.0
"""How long before the end of a drain connections without a request are closed."""


class HttpProxy:
    """A `NodeService` that answers HTTP on one address. Runs on its actor's event loop."""

    def __init__(self) -> None:
        self._app: ProxyApp | None = None
        self._server: ProxyServer | None = None
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
        self._app = _app(runtime, options, access)
        await self._know_routes(runtime, self._app)
        self._server = ProxyServer(self._app, options, tls)
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
            log.warning("%d connections did not end in %g s", self._server.num_connections, limit_s)

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


def _app(runtime: Runtime, options: Any, access: AccessLogWriter | None) -> ProxyApp:
    """Return the proxy's application, one that is observed where a plugin asks."""
    layers = _layers(runtime)
    observer = runtime.observe("edge", EdgeObserver, "http")
    if observer is None:
        return ProxyApp(runtime, options, access, layers)
    app = ObservedApp(runtime, options, access, layers)
    app.observer = observer
    return app


def _layers(runtime: Runtime) -> HttpLayers | None:
    """Return what builds the layers of plugins, None where no plugin gives any."""
    hooks = runtime.hooks
    if not hooks.implements("wrap_http"):
        return None

    def ask(route: HttpRoute) -> list[HookAnswer]:
        return hooks.ask("wrap_http", subject=subject(route), route=route, config=runtime.config)

    stages = order_stages(hooks.registered("register_layer_stages").values())
    return HttpLayers(ask, stages, hooks.failures.note)
