"""Route matching: the longest prefix of a path, at segment boundaries. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from alacarte.types import Route, Service

from .._resolved_route import ResolvedRoute

__all__ = ["RouteIndex"]


class RouteIndex:
    """An index from paths to routes.

    "/a" matches "/a", "/a/" and "/a/b", never "/ab"; "/" matches every other path. An exact route
    matches its own path only, and precedes a prefix of the same length. A route without a path
    matches none.

    Args:
        http: Returns the service for a route's requests.
        websocket: Returns the service for a route's WebSockets.
        is_task_free: Returns the route's `ResolvedRoute.is_task_free`. Called after `http`.
        starting: Names of applications that have not been ready yet.
        root_path: Prepended to each route's prefix in the `root_path` that applications see.
    """

    def __init__(
        self,
        routes: Iterable[Route],
        http: Callable[[Route], Service],
        websocket: Callable[[Route], Service],
        is_task_free: Callable[[Route], bool] = lambda route: False,
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
                    route, *services, allowed, starts, is_task_free(route), root.encode()
                )
                (self._exact if route.exact else self._prefixes)[route.prefix] = resolved
        # Limits the work on a path with many slashes: no longer part of it can be a prefix.
        self._depth = max((prefix.count("/") for prefix in self._prefixes), default=0)
        self._root = self._prefixes.get("/")
        self._only_root = self._prefixes.keys() == {"/"} and not self._exact

    def __len__(self) -> int:
        return len(self._prefixes) + len(self._exact)

    @property
    def routes(self) -> list[Route]:
        """All routes, those with a prefix first."""
        return [each.route for each in (*self._prefixes.values(), *self._exact.values())]

    def match(self, path: str) -> ResolvedRoute | None:
        """Return the route of a path, None without a match."""
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
