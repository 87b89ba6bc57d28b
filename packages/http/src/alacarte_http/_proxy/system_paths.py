"""The proxy's own paths: the list of routes and the health check."""

from __future__ import annotations

import ipaddress
import json

from .._edge.head import Head
from .._local_response import LocalResponse
from ..config import HTTPOptions
from .route_index import RouteIndex

__all__ = ["NO_ROUTES", "PREFIX", "SystemPaths"]

PREFIX = b"/-/"
"""Prefix of the path as sent: a server in front of the proxy may block it by its bytes."""
NO_ROUTES = LocalResponse(503, "Route table is not populated yet.", ((b"retry-after", b"1"),))

_ROUTES, _HEALTH = b"/-/routes", b"/-/healthz"
_JSON = ((b"content-type", b"application/json"),)


class SystemPaths:
    """Responds to requests for the proxy itself.

    Args:
        options: The `HTTPOptions`.
    """

    def __init__(self, options: HTTPOptions) -> None:
        self._shows_routes = options.shows_routes
        named = (options.host, *options.routes_hosts)
        self._hosts = frozenset(host.lower() for host in named if host)

    def respond(self, head: Head, routes: RouteIndex | None, *, draining: bool) -> LocalResponse:
        """Return the response to a request whose path begins with `PREFIX`."""
        if head.method not in ("GET", "HEAD"):
            text = f"{head.method} is not allowed for the proxy's own paths. Use GET or HEAD."
            return LocalResponse(405, text, ((b"allow", b"GET, HEAD"),))
        path = head.raw_path
        if path == _ROUTES and self._shows_routes:
            return self._list_routes(head, routes)
        if path == _HEALTH:
            if routes is None:
                return NO_ROUTES
            if draining:
                return LocalResponse(503, "This node is draining.")
            return LocalResponse(200, "success")
        return LocalResponse(
            404, f"The proxy has no path {head.path}; it has /-/routes and /-/healthz."
        )

    def _list_routes(self, head: Head, routes: RouteIndex | None) -> LocalResponse:
        host = next((value for name, value in head.headers if name == b"host"), None)
        if host is not None and not self._is_trusted_host(hostname(host)):
            return LocalResponse(
                403,
                f"/-/routes is forbidden for the host {hostname(host)!r}. Use localhost or an IP "
                "address, or add the host to the http option routes_hosts.",
            )
        if routes is None:
            return NO_ROUTES
        table = {route.prefix: route.app for route in routes.routes}
        return LocalResponse(200, json.dumps(table, separators=(",", ":")), _JSON)

    def _is_trusted_host(self, host: str) -> bool:
        """Return whether an attacker cannot point the name of a host to this machine.

        A page in a browser may request its own host name after that name resolves to a loopback
        address (DNS rebinding). For the browser that is still the page's own site.
        """
        if host == "localhost" or host.endswith(".localhost") or host in self._hosts:
            return True
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return False
        return True


def hostname(value: bytes) -> str:
    """Return the host of a valid Host header, without port and brackets, in lower case."""
    text = value.decode("latin-1").lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0]
