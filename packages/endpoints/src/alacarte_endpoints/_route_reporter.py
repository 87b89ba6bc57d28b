"""The counted routes of one process, and their reports to the controller."""

from __future__ import annotations

import asyncio
import functools
import logging
import weakref

from alacarte.errors import PluginError
from alacarte.types import DeploymentId, Route, Runtime

from ._route_layer import CountedRoute
from ._shadow_body import ShadowBudget

__all__ = ["COUNTS_TOPIC", "RouteReporter", "counted_route"]

log = logging.getLogger("alacarte.endpoints")
COUNTS_TOPIC = "alacarte.endpoints.counts"
"""Topic of sequences of `RouteReport`: one for each counted route of the process."""
_PERIOD_S = 1.0


class RouteReporter:
    """Makes the layers of a process's routes, and reports their counts. Lives on its loop.

    Once a second, as long as counts change; of no route, when the last one is gone.
    """

    def __init__(self, runtime: Runtime) -> None:
        # The runtime's end is this object's; a reference would keep both.
        self._runtime = weakref.ref(runtime)
        self._loop = asyncio.get_running_loop()
        self._layers: dict[str, CountedRoute] = {}
        self._budgets: weakref.WeakValueDictionary[tuple[str, DeploymentId], ShadowBudget]
        self._budgets = weakref.WeakValueDictionary()
        self._reported: dict[str, tuple[float, int]] = {}
        self._has_failed = False
        self._timer: asyncio.TimerHandle | None = None

    def layer(self, route: Route, runtime: Runtime) -> CountedRoute:
        """Return the layer of a version of a route."""
        place = route.prefix or route.name
        made = CountedRoute(
            route, runtime.service, functools.partial(self._budget, place), self._closed
        )
        self._layers[made.fingerprint] = made
        if self._timer is None:
            self._timer = self._loop.call_later(_PERIOD_S, self._report)
        return made

    def _budget(self, place: str, shadow: DeploymentId) -> ShadowBudget:
        """Return the budget that all versions of a route share for one shadow."""
        return self._budgets.setdefault((place, shadow), ShadowBudget())

    def _closed(self, layer: CountedRoute, replaced: bool) -> None:
        if self._layers.get(layer.fingerprint) is layer:
            del self._layers[layer.fingerprint]
        if replaced:
            return  # copies in flight come to their own ends
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for budget in list(self._budgets.values()):
            budget.close()

    def _report(self) -> None:
        self._timer = None
        runtime = self._runtime()
        if runtime is None:
            return
        counted = {key: (layer.since, layer.events) for key, layer in self._layers.items()}
        if counted != self._reported:
            self._reported = counted
            try:
                runtime.report(COUNTS_TOPIC, [layer.report() for layer in self._layers.values()])
            except PluginError as error:  # too many routes for one report; there may be fewer later
                if not self._has_failed:
                    log.error("the counts of this process's routes are not reported: %s", error)
                self._has_failed = True
            else:
                self._has_failed = False
        if self._layers:
            self._timer = self._loop.call_later(_PERIOD_S, self._report)


_reporters: weakref.WeakKeyDictionary[Runtime, RouteReporter] = weakref.WeakKeyDictionary()
"""One for each process; in the local cluster, for each runtime."""


def counted_route(route: Route, runtime: Runtime) -> CountedRoute:
    """Return the layer of a version of a route in this process."""
    reporter = _reporters.get(runtime)
    if reporter is None:
        reporter = _reporters[runtime] = RouteReporter(runtime)
    return reporter.layer(route, runtime)
