"""The services of routes in a process that makes calls."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from ..errors import NotFoundError, ServeError
from ..types import Call, DeploymentId, Reply, Route, RouteLayer, RouteTable, Service
from .split import FailurePredicate, Split

__all__ = ["RouteServices"]

_FIRST_TABLE_TIMEOUT_S = 15.0
_NEXT_TABLE_TIMEOUT_S = 1.0
"""Wait for the table without a deleted deployment, which may arrive after the deployment's end."""


class RouteServices:
    """The newest route table, and a `Split` for each route that is more than one plain target.

    Args:
        service_of: Returns the service of a deployment.
        is_deleted: Returns whether a deployment was deleted.
        layers: Returns the layers that plugins put around the calls of a route.
    """

    def __init__(
        self,
        service_of: Callable[[DeploymentId], Service],
        is_deleted: Callable[[DeploymentId], bool],
        layers: Callable[[Route], Sequence[RouteLayer]],
    ) -> None:
        self._service_of = service_of
        self._is_deleted = is_deleted
        self._layers = layers
        self._splits: dict[str, Split] = {}
        self._routes: dict[str, Route] = {}
        self._named: dict[str, Service] = {}
        self._listeners: list[Callable[[RouteTable], None]] = []
        self._table: RouteTable | None = None
        self._newer = asyncio.Event()

    def update(self, table: RouteTable) -> None:
        """Apply a newer table; calls that have chosen their target go on.

        Every listener gets the table. The first error of a listener is then raised, so that the
        table is sent again.
        """
        self._table = table
        if self._splits:
            wanted = {route.fingerprint for route in table.routes if route.is_split}
            for key in self._splits.keys() - wanted:
                self._splits.pop(key).close(replaced=True)
        self._routes = {_route_key(route): route for route in table.routes}
        self._named = {}
        errors = []
        for listener in self._listeners:
            try:
                listener(table)
            except Exception as error:  # foreign code, which must not keep the table from others
                errors.append(error)
        self._newer.set()
        self._newer = asyncio.Event()
        if errors:
            raise errors[0]

    def listen(self, changed: Callable[[RouteTable], None]) -> None:
        """Call `changed` with the current table, if any, and with every newer one."""
        self._listeners.append(changed)
        if self._table is not None:
            changed(self._table)

    async def wait_for_version(self, version: int) -> None:
        """Wait until a table of this version or a newer one has arrived."""
        while self._table is None or self._table.version < version:
            await self._newer.wait()

    def route_service(self, route: Route, failed: FailurePredicate) -> Service:
        """Return the service of a route; see `Runtime.route_service`."""
        if not route.is_split:
            return self._service_of(next(iter(route.targets)))
        return self._split(route).service(failed)

    def named_service(self, name: str) -> Service:
        """Return a service that calls the route that has this name at the time of each call.

        Raises (from the service):
            NotFoundError: No route has that name.
        """

        async def serve(call: Call) -> Reply:
            service = self._named.get(name)
            if service is None:
                service = self._named[name] = self.route_service(
                    await self._find(name), _no_reply_failed
                )
            return await service(call)

        return serve

    def close(self) -> None:
        """Close the layers of all routes, because this process makes no more calls."""
        for split in self._splits.values():
            split.close(replaced=False)
        self._splits = {}

    async def _find(self, name: str) -> Route:
        if self._table is None:
            try:
                async with asyncio.timeout(_FIRST_TABLE_TIMEOUT_S):
                    await self.wait_for_version(-1)
            except TimeoutError:
                raise ServeError(
                    "the controller has not sent the routes; check serve.status()."
                ) from None
        names = {route.name: route for route in self._routes.values() if route.name}
        if name not in names:
            known = ", ".join(sorted(names)) or "none"
            raise NotFoundError(f"no route is named {name!r}; the routes are: {known}.")
        return names[name]

    def _split(self, route: Route) -> Split:
        key = route.fingerprint
        split = self._splits.get(key)
        if split is None:
            layers = self._layers(route)
            split = self._splits[key] = Split(route, self._service_of, layers, self._successor)
        return split

    async def _successor(
        self, split: Split, target: DeploymentId, failed: FailurePredicate
    ) -> tuple[Route, Service] | None:
        """Return the route that has replaced a split's route, and its service; None if none has.

        After the end of the target's deployment, wait a moment for the replacement.
        """
        key = split.route.fingerprint
        if self._is_deleted(target):  # so the route has changed, though its table may still arrive
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_NEXT_TABLE_TIMEOUT_S):
                    while self._splits.get(key) is split:
                        await self._newer.wait()
        route = self._routes.get(_route_key(split.route))
        if route is None or self._splits.get(key) is split:
            return None
        return route, self.route_service(route, failed)


def _route_key(route: Route) -> str:
    """Return the key of a route, which does not depend on its targets."""
    return route.prefix or route.name


def _no_reply_failed(reply: Reply) -> bool:
    return False
