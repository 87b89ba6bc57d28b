"""The proxy's own paths: which routes there are, and whether it is healthy."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

from .._edge.head import Head
from .._errors import Answer
from .routes import RouteIndex

__all__ = ["NO_ROUTES", "PREFIX", "SystemPaths"]

PREFIX = b"/-/"
"""Of the path as it was sent: what stands before this proxy may guard it by its bytes."""
NO_ROUTES = Answer(503, "Route table is not populated yet.", ((b"retry-after", b"1"),))

_ROUTES, _HEALTH = b"/-/routes", b"/-/healthz"
_JSON = ((b"content-type", b"application/json"),)


class SystemPaths:
    """Answers requests for the proxy itself.

    Args:
        options: The `HTTPOptions`.
    """

    def __init__(self, options: Any) -> None:
        self._shows_routes: bool = options.shows_routes
        named = (options.host, *options.routes_hosts)
        self._hosts = frozenset(host.lower() for host in named if host)

    def answer(self, head: Head, routes: RouteIndex | None, *, draining: bool) -> Answer:
        """Return the answer to a request whose path begins with `PREFIX`."""
        if head.method not in ("GET", "HEAD"):
            text = f"{head.method} is not allowed for the proxy's own paths; GET and HEAD are."
            return Answer(405, text, ((b"allow", b"GET, HEAD"),))
        path = head.raw_path
        if path == _ROUTES and self._shows_routes:
            return self._show(head, routes)
        if path == _HEALTH:
            if routes is None:
                return NO_ROUTES
            if draining:
                return Answer(503, "This node is being drained.")
            return Answer(200, "success")
        return Answer(404, f"There is no {head.path}. There are /-/routes and /-/healthz.")

    def _show(self, head: Head, routes: RouteIndex | None) -> Answer:
        host = next((value for name, value in head.headers if name == b"host"), None)
        if host is not None and not self._knows(hostname(host)):
            return Answer(
                403,
                f"/-/routes is not answered for the host {hostname(host)!r}, only for localhost, "
                "IP addresses and the names in the HTTP option routes_hosts.",
            )
        if routes is None:
            return NO_ROUTES
        table = {route.prefix: route.app for route in routes.routes}
        return Answer(200, json.dumps(table, separators=(",", ":")), _JSON)

    def _knows(self, host: str) -> bool:
        """Return whether a host is one that no stranger can let point to this machine.

        A page in a browser may ask for a name of its author's, which suddenly resolves to a
        loopback address (DNS rebinding): for the browser that is no other site.
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
