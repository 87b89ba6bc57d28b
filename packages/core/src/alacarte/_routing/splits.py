"""The routes as a process that makes calls sees them: those that are split, and those by name."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from .._model.tallies import split_key
from ..actors import SplitReport
from ..errors import NotFoundError, PluginError, ServeError
from ..types import Call, DeploymentId, Reply, Route, RouteTable, Service
from .copies import Room
from .split import Failed, Split

__all__ = ["Splits"]

log = logging.getLogger("alacarte.runtime")
_PAUSE_S = 1.0
_FIRST_S = 15.0
_NEWER_S = 1.0
"""For a table without a deployment that is gone: both come from the controller, apart."""

Report = Callable[[tuple[SplitReport, ...]], object]


class Splits:
    """Keeps a `Split` for each route that has more than one plain target, and tells its counts.

    Args:
        service_of: Gives the way to a deployment.
        is_gone: Says whether a deployment is not there any more.
        report: Takes the counts of all splits, whenever some have changed; of none, when the last
            one is gone.
    """

    def __init__(
        self,
        service_of: Callable[[DeploymentId], Service],
        is_gone: Callable[[DeploymentId], bool],
        report: Report,
    ) -> None:
        self._service_of = service_of
        self._is_gone = is_gone
        self._report = report
        self._splits: dict[str, Split] = {}
        self._rooms: dict[tuple[str, DeploymentId], Room] = {}
        self._routes: dict[str, Route] = {}
        self._named: dict[str, Split] = {}
        self._listeners: list[Callable[[RouteTable], None]] = []
        self._table: RouteTable | None = None
        self._newer = asyncio.Event()
        self._telling: asyncio.Task[None] | None = None

    def update(self, table: RouteTable) -> None:
        """Take over a newer table; calls that have chosen their target go on."""
        self._table = table
        wanted = {split_key(route) for route in table.routes if route.is_split}
        # Copies that are under way come to their own ends.
        self._splits = {key: split for key, split in self._splits.items() if key in wanted}
        self._routes = {_place(route): route for route in table.routes}
        self._named = {}
        shadowed = {(_place(route), shadow) for route in table.routes for shadow in route.shadows}
        self._rooms = {
            key: room for key, room in self._rooms.items() if room.tasks or key in shadowed
        }
        for listener in self._listeners:
            listener(table)
        self._newer.set()
        self._newer = asyncio.Event()

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
        """Return the way to a route; see `Runtime.route_service`."""
        if not route.is_split:
            return self._service_of(next(iter(route.targets)))
        split = self._split(route)
        return lambda call: split.call(call, failed)

    def named(self, name: str) -> Service:
        """Return the way to the route of a name, whatever becomes of it.

        Raises (from the service):
            NotFoundError: There is none.
        """

        async def call(call: Call) -> Reply:
            split = self._named.get(name)
            if split is None:
                split = self._named[name] = await self._find(name)
            return await split.call(call, _never)

        return call

    def close(self) -> None:
        """Tell nothing more, and give up what is under way by itself."""
        if self._telling is not None:
            self._telling.cancel()
        for room in self._rooms.values():
            room.close()

    async def _find(self, name: str) -> Split:
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
        return self._split(names[name])

    def _split(self, route: Route) -> Split:
        key = split_key(route)
        split = self._splits.get(key)
        if split is None:
            place = _place(route)

            def room_of(shadow: DeploymentId) -> Room:
                return self._rooms.setdefault((place, shadow), Room())

            split = self._splits[key] = Split(route, self._service_of, room_of, self._successor)
            if self._telling is None:
                self._telling = asyncio.create_task(self._tell())
        return split

    async def _successor(
        self, split: Split, target: DeploymentId, failed: Failed
    ) -> tuple[Route, Service] | None:
        """Return what the route of a split is by now, or at once; None for what it was."""
        if self._is_gone(target):  # so its route is another one, though we may not know it yet
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_NEWER_S):
                    while self._splits.get(split.key) is split:
                        await self._newer.wait()
        route = self._routes.get(_place(split.route))
        if route is None or self._splits.get(split.key) is split:
            return None
        return route, self.of(route, failed)

    async def _tell(self) -> None:
        """Report the counts of all splits once a second, as long as they change."""
        reported: dict[str, tuple[float, int]] = {}
        has_failed = False
        while True:
            await asyncio.sleep(_PAUSE_S)
            counted = {key: (split.since, split.events) for key, split in self._splits.items()}
            if counted == reported:
                continue
            reported = counted
            try:
                self._report(tuple(split.report() for split in self._splits.values()))
            except PluginError as error:  # too many splits for one report; there may be fewer later
                if not has_failed:
                    log.error("the counts of this process's routes are not reported: %s", error)
                has_failed = True
            else:
                has_failed = False


def _place(route: Route) -> str:
    """Return where a route is found, whatever its targets."""
    return route.prefix or route.name


def _never(reply: Reply) -> bool:
    return False
