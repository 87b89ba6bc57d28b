"""Which route a path takes: the longest prefix, at segment boundaries. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from alacarte.types import DeploymentId, Route

__all__ = ["RouteIndex", "choose_target"]


class RouteIndex:
    """Routes, ready to be looked up.

    "/a" takes "/a", "/a/" and "/a/b", never "/ab"; "/" takes what nothing else does. An exact
    route takes its own path only, and goes before a prefix of the same length.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._prefixes: dict[str, Route] = {}
        self._exact: dict[str, Route] = {}
        for route in routes:
            (self._exact if route.exact else self._prefixes)[route.prefix] = route
        # No deeper cut of a path can be a prefix, however many slashes a hostile one has.
        self._depth = max((prefix.count("/") for prefix in self._prefixes), default=0)
        self._root = self._prefixes.get("/")
        self._only_root = self._prefixes.keys() == {"/"} and not self._exact

    def __len__(self) -> int:
        return len(self._prefixes) + len(self._exact)

    @property
    def routes(self) -> list[Route]:
        return [*self._prefixes.values(), *self._exact.values()]

    def match(self, path: str) -> Route | None:
        """Return the route of a path, None when there is none."""
        if self._only_root:
            return self._root
        exact = self._exact.get(path)
        if exact is not None:
            return exact
        segments = path.split("/", self._depth + 1)[: self._depth + 1]
        for count in range(len(segments), 1, -1):
            route = self._prefixes.get("/".join(segments[:count]))
            if route is not None:
                return route
        return self._root


def choose_target(route: Route, draw: Callable[[], float] = random.random) -> DeploymentId:
    """Return one of a route's targets, each as often as its weight says.

    Args:
        draw: Gives a number from 0 up to 1.
    """
    rest = draw()
    target = None
    for target, weight in route.targets.items():
        rest -= weight
        if rest < 0:
            return target
    # Weights sum to 1 but for rounding; what is left over is the last one's.
    assert target is not None, f"route {route.prefix} has no target"
    return target
