"""Which route a path takes: the longest prefix, at segment boundaries. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from alacarte.types import Route, Service

from .._calls import ResolvedRoute

__all__ = ["RouteIndex"]


class RouteIndex:
    """Routes, ready to be looked up.

    "/a" takes "/a", "/a/" and "/a/b", never "/ab"; "/" takes what nothing else does. An exact
    route takes its own path only, and goes before a prefix of the same length. A route without a
    path takes none.

    Args:
        http: Returns the service for a route's requests.
        websocket: Returns the service for a route's WebSockets.
        is_plain: Says of a route whose services were made whether they are plain; see
            `ResolvedRoute`.
        starting: Applications that have not answered yet.
        root_path: In front of every prefix, for who asks under which path it is mounted.
    """

    def __init__(
        self,
        routes: Iterable[Route],
        http: Callable[[Route], Service],
        websocket: Callable[[Route], Service],
        is_plain: Callable[[Route], bool] = lambda route: False,
        starting: frozenset[str] = frozenset(),
        root_path: str = "",
    ) -> None:
        self._prefixes: dict[str, ResolvedRoute] = {}
        self._exact: dict[str, ResolvedRoute] = {}
        for route in routes:
            if route.prefix:
                starts = all(target.app in starting for target in route.targets)
                allowed = _allowed(route.methods)
                services = http(route), websocket(route)
                root = root_path if route.prefix == "/" else root_path + route.prefix
                resolved = ResolvedRoute(
                    route, *services, allowed, starts, is_plain(route), root.encode()
                )
                (self._exact if route.exact else self._prefixes)[route.prefix] = resolved
        # No deeper cut of a path can be a prefix, however many slashes a hostile one has.
        self._depth = max((prefix.count("/") for prefix in self._prefixes), default=0)
        self._root = self._prefixes.get("/")
        self._only_root = self._prefixes.keys() == {"/"} and not self._exact

    def __len__(self) -> int:
        return len(self._prefixes) + len(self._exact)

    @property
    def routes(self) -> list[Route]:
        return [each.route for each in (*self._prefixes.values(), *self._exact.values())]

    def match(self, path: str) -> ResolvedRoute | None:
        """Return the route of a path, None when there is none."""
        if self._only_root:
            return self._root
        exact = self._exact.get(path)
        if exact is not None:
            return exact
        segments = path.split("/", self._depth + 1)[: self._depth + 1]
        for count in range(len(segments), 1, -1):
            resolved = self._prefixes.get("/".join(segments[:count]))
            if resolved is not None:
                return resolved
        return self._root


def _allowed(methods: frozenset[str] | None) -> frozenset[str] | None:
    if methods is not None and "GET" in methods:
        return methods | {"HEAD"}
    return methods
