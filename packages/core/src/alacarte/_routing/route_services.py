"""The routes as a process that makes calls sees them: those that are split, and those by name."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from ..errors import NotFoundError, ServeError
from ..types import Call, DeploymentId, Reply, Route, RouteLayer, RouteTable, Service
from .split import Failed, Split

__all__ = ["RouteServices"]

_FIRST_S = 15.0
_NEWER_S = 1.0
"""For a table without a deployment that is gone: both come from the controller, apart."""


class RouteServices:
    """Keeps the newest table, and a `Split` for each route with more than one plain target.

    Args:
        service_of: Returns the service of a deployment.
        is_gone: Says whether a deployment is not there any more.
        layers: Returns what plugins put around the calls by a route.
    """

    def __init__(
        self,
        service_of: Callable[[DeploymentId], Service],
        is_gone: Callable[[DeploymentId], bool],
        layers: Callable[[Route], Sequence[RouteLayer]],
    ) -> None:
        self._service_of = service_of
        self._is_gone = is_gone
        self._layers = layers
        self._splits: dict[str, Split] = {}
        self._routes: dict[str, Route] = {}
        self._named: dict[str, Service] = {}
        self._listeners: list[Callable[[RouteTable], None]] = []
        self._table: RouteTable | None = None
        self._newer = asyncio.Event()

    def update(self, table: RouteTable) -> None:
        """Take over a newer table; calls that have chosen their target go on.

        Every listener hears of the table. Then the error of the first that has raised is raised,
        so that the table is brought again.
        """
        self._table = table
        if self._splits:
            wanted = {route.fingerprint for route in table.routes if route.is_split}
            for key in self._splits.keys() - wanted:
                self._splits.pop(key).close(replaced=True)
        self._routes = {_place(route): route for route in table.routes}
        self._named = {}
        errors = []
        for listener in self._listeners:
            try:
                listener(table)
            except Exception as error:  # foreign code: the others must not miss the table for it
                errors.append(error)
        self._newer.set()
        self._newer = asyncio.Event()
        if errors:
            raise errors[0]

    def listen(self, changed: Callable[[RouteTable], None]) -> None:
        """Call `changed` with this table, where there is one, and with every newer one."""
        self._listeners.append(changed)
        if self._table is not None:
            changed(self._table)

    async def known(self, version: int) -> None:
        """Return when a table of this version, or a newer one, is here."""
        while self._table is None or self._table.version < version:
            await self._newer.wait()

    def of(self, route: Route, failed: Failed) -> Service:
        """Return the service of a route; see `Runtime.route_service`."""
        if not route.is_split:
            return self._service_of(next(iter(route.targets)))
        return self._split(route).service(failed)

    def named(self, name: str) -> Service:
        """Return the service of the route of a name, whatever becomes of it.

        Raises (from the service):
            NotFoundError: There is none.
        """

        async def call(call: Call) -> Reply:
            service = self._named.get(name)
            if service is None:
                service = self._named[name] = self.of(await self._find(name), _never)
            return await service(call)

        return call

    def close(self) -> None:
        """Tell the layers that this process makes no more calls."""
        for split in self._splits.values():
            split.close(replaced=False)
        self._splits = {}

    async def _find(self, name: str) -> Route:
        if self._table is None:
            try:
                async with asyncio.timeout(_FIRST_S):
                    await self.known(-1)
            except TimeoutError:
                raise ServeError("the controller does not answer: no route is known.") from None
        names = {route.name: route for route in self._routes.values() if route.name}
        if name not in names:
            there = ", ".join(sorted(names)) or "none"
            raise NotFoundError(f"there is no route named {name!r}; there are: {there}.")
        return names[name]

    def _split(self, route: Route) -> Split:
        key = route.fingerprint
        split = self._splits.get(key)
        if split is None:
            layers = self._layers(route)
            split = self._splits[key] = Split(route, self._service_of, layers, self._successor)
        return split

    async def _successor(
        self, split: Split, target: DeploymentId, failed: Failed
    ) -> tuple[Route, Service] | None:
        """Return what the route of a split is by now, or at once; None for what it was."""
        key = split.route.fingerprint
        if self._is_gone(target):  # so its route is another one, though we may not know it yet
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_NEWER_S):
                    while self._splits.get(key) is split:
                        await self._newer.wait()
        route = self._routes.get(_place(split.route))
        if route is None or self._splits.get(key) is split:
            return None
        return route, self.of(route, failed)


def _place(route: Route) -> str:
    """Return where a route is found, whatever its targets."""
    return route.prefix or route.name


def _never(reply: Reply) -> bool:
    return False
