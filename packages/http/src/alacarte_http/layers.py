"""Layers around HTTP requests in the proxy, which plugins return from the hook `wrap_http`.

A *service* is an async function from `HttpRequest` to `HttpResponse`; a *layer* takes a service and
returns one:

    def require_key(service: HttpService) -> HttpService:
        async def call(request: HttpRequest) -> HttpResponse:
            if request.header("x-api-key") != KEY:
                return HttpResponse(401, "Send a key in X-API-Key.")
            return await service(request.with_identity(Identity("the holder of the key")))
        return call

A layer runs in the proxy, before any byte of the request's body is read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

from alacarte.types import DeploymentInfo, Identity

from ._head_codec import check_headers
from .message import Headers, HttpResponse, find_header, header_pairs

__all__ = [
    "APPLICATION",
    "SYSTEM",
    "UNMATCHED",
    "HttpLayer",
    "HttpRequest",
    "HttpResponse",
    "HttpRoute",
    "HttpService",
]

RouteKind = Literal["application", "system", "unmatched"]
APPLICATION: RouteKind = "application"
SYSTEM: RouteKind = "system"
UNMATCHED: RouteKind = "unmatched"

# Characters that RFC 3986 allows in a path, besides letters, digits and `-._~`.
_PATH = "/!$&'()*+,;=:@"


@dataclass(frozen=True)
class HttpRoute:
    """The route of the requests that a layer wraps.

    Attributes:
        kind: `"application"`: a route of an application or an endpoint. `"system"`: the proxy's own
            paths, below `/-/`. `"unmatched"`: paths without a route.
        prefix: Path prefix; "/-/" for the proxy's own paths, "" for unmatched paths.
        application: Name of the application or endpoint that owns the route; "" for other kinds.
        deployments: Ingress deployments of the route, more than one if the route is split.
    """

    kind: RouteKind
    prefix: str = ""
    application: str = ""
    deployments: tuple[DeploymentInfo, ...] = ()


@dataclass(slots=True, eq=False)  # not frozen: creating it would take six times as long
class HttpRequest:
    """The head of a request, or of a WebSocket's handshake.

    Treat instances as immutable: `with_path` and similar methods return a changed copy.

    Attributes:
        method: In capitals, as sent.
        path: Decoded path, with the route's prefix.
        raw_path: Path as sent, percent-encoded.
        query: Query string, without the question mark.
        version: "1.1" or "1.0".
        headers: In order, with names in lower case.
        client: Address of the client, None where its socket has none.
        server: Address that the client connected to.
        secure: The client's connection uses TLS.
        websocket: The request opens a WebSocket.
        request_id: Id in the response's `X-Request-ID`, in logs, and in all calls of the request.
        route: The request's route. A layer that changes the path does not change the route.
        identity: The request's sender, set by an outer layer; None if not authenticated.
    """

    method: str
    path: str
    raw_path: bytes = b""
    query: bytes = b""
    version: str = "1.1"
    headers: Sequence[tuple[bytes, bytes]] = ()
    client: tuple[str, int | None] | None = None
    server: tuple[str, int | None] | None = None
    secure: bool = False
    websocket: bool = False
    request_id: str = ""
    route: HttpRoute = field(default_factory=lambda: HttpRoute(UNMATCHED))
    identity: Identity | None = None
    _forward: Any = field(default=None, repr=False, compare=False)

    def header(self, name: str) -> str | None:
        """Return the first header with a name, in any case; None without one."""
        return find_header(self.headers, name)

    def with_path(self, path: str) -> HttpRequest:
        """Return a copy with another path, given decoded and below the route's prefix."""
        raw_path = quote(path, safe=_PATH, errors="surrogateescape").encode()
        return self._with(path=path, raw_path=raw_path)

    def with_headers(self, headers: Headers) -> HttpRequest:
        """Return a copy with these headers, which replace headers of the same names.

        Raises:
            ValueError: A header's name or value is invalid.
        """
        pairs = header_pairs(headers)
        check_headers(pairs)
        replaced = {name for name, _ in pairs}
        kept = [header for header in self.headers if header[0] not in replaced]
        return self._with(headers=[*kept, *pairs])

    def without_headers(self, *names: str) -> HttpRequest:
        """Return a copy without the headers of these names."""
        dropped = {name.lower().encode("latin-1") for name in names}
        return self._with(headers=[each for each in self.headers if each[0] not in dropped])

    def with_identity(self, identity: Identity | None) -> HttpRequest:
        """Return a copy with an identity, which the replica receives with the call."""
        return self._with(identity=identity)

    def _with(self, **changes: object) -> HttpRequest:
        """Return a changed copy, like `dataclasses.replace` in a fifth of its time."""
        copy = HttpRequest(
            self.method,
            self.path,
            self.raw_path,
            self.query,
            self.version,
            self.headers,
            self.client,
            self.server,
            self.secure,
            self.websocket,
            self.request_id,
            self.route,
            self.identity,
            self._forward,
        )
        for name, value in changes.items():
            setattr(copy, name, value)
        return copy


HttpService = Callable[[HttpRequest], Awaitable[HttpResponse]]
"""An async function that responds to requests. A layer may call the service that it wraps once for
each request. That service does not raise: errors of the application are responses already."""

HttpLayer = Callable[[HttpService], HttpService]
