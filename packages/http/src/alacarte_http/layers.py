"""Layers around HTTP requests in the proxy, as plugins give them with the hook `wrap_http`.

A *service* is an async function from `HttpRequest` to `HttpResponse`; a *layer* takes a service and
returns one:

    def require_key(service: HttpService) -> HttpService:
        async def call(request: HttpRequest) -> HttpResponse:
            if request.header("x-api-key") != KEY:
                return HttpResponse(401, "Send a key in X-API-Key.")
            return await service(request.with_identity(Identity("the holder of the key")))
        return call

A layer runs in the proxy, before anything of the request's body is read.
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

# What RFC 3986 allows in a path beside letters, digits and `-._~`.
_PATH = "/!$&'()*+,;=:@"


@dataclass(frozen=True)
class HttpRoute:
    """Where requests go that a layer stands around.

    Attributes:
        kind: `"application"`: a route of an application or an endpoint. `"system"`: the proxy's own
            paths, below `/-/`. `"unmatched"`: paths that no route takes.
        prefix: Of the path, "/-/" for the proxy's own paths, "" for unmatched ones.
        application: Whose route it is: an application or an endpoint; "" for the other kinds.
        deployments: Those that the route leads to, more than one where the route is split.
    """

    kind: RouteKind
    prefix: str = ""
    application: str = ""
    deployments: tuple[DeploymentInfo, ...] = ()


@dataclass(slots=True, eq=False)  # not frozen: that takes six times as long to make
class HttpRequest:
    """The head of a request, or of the handshake of a WebSocket.

    Never change one in place: `with_path` and its like return another one.

    Attributes:
        method: In capitals, as sent.
        path: Decoded, the route's prefix included.
        raw_path: As sent, still percent-encoded.
        query: What follows the path's question mark.
        version: "1.1" or "1.0".
        headers: In order, with names in lower case.
        client: Address of the client, None where its socket has none.
        server: Address that the client connected to.
        secure: The client's connection is TLS.
        websocket: The request opens a WebSocket.
        request_id: In the response's `X-Request-ID`, in logs, and in every call that follows.
        route: Where the request goes. A layer that changes the path does not change the route.
        identity: Who makes the request, as layers further out have established.
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
        """Return the first header of that name, in whatever case; None without."""
        return find_header(self.headers, name)

    def with_path(self, path: str) -> HttpRequest:
        """Return the same request for another path, decoded, below the route's prefix."""
        raw_path = quote(path, safe=_PATH, errors="surrogateescape").encode()
        return self._with(path=path, raw_path=raw_path)

    def with_headers(self, headers: Headers) -> HttpRequest:
        """Return the same request with these headers in place of those of their names.

        Raises:
            ValueError: No request can have one of them.
        """
        pairs = header_pairs(headers)
        check_headers(pairs)
        replaced = {name for name, _ in pairs}
        kept = [header for header in self.headers if header[0] not in replaced]
        return self._with(headers=[*kept, *pairs])

    def without_headers(self, *names: str) -> HttpRequest:
        """Return the same request without the headers of these names."""
        dropped = {name.lower().encode("latin-1") for name in names}
        return self._with(headers=[each for each in self.headers if each[0] not in dropped])

    def with_identity(self, identity: Identity | None) -> HttpRequest:
        """Return the same request as made by `identity`, which reaches the replica."""
        return self._with(identity=identity)

    def _with(self, **changes: Any) -> HttpRequest:
        """Do as `dataclasses.replace`, in a fifth of its time: layers copy each request."""
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
"""Answers requests. The service that a layer is given may be called once for each request, and
raises no error of the application: what went wrong is a response there already."""

HttpLayer = Callable[[HttpService], HttpService]
