"""Reporter of the route counters of one process, to the controller."""

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
"""Topic of sequences of `RouteReport`, one report for each counted route of the process."""
_PERIOD_S = 1.0


class RouteReporter:
    """Creates the layers of a process's routes, and reports their counts. Runs on the loop.

    Reports once a second while counts change, and an empty sequence after the last route.
    """

    def __init__(self, runtime: Runtime) -> None:
        # A weak reference, since `_reporters` keeps this object while the runtime exists.
        self._runtime = weakref.ref(runtime)
        self._loop = asyncio.get_running_loop()
        self._layers: dict[str, CountedRoute] = {}
        self._budgets: weakref.WeakValueDictionary[tuple[str, DeploymentId], ShadowBudget]
        self._budgets = weakref.WeakValueDictionary()
        self._reported: dict[str, tuple[float, int]] = {}
        self._has_failed = False
        self._timer: asyncio.TimerHandle | None = None

    def layer(self, route: Route, runtime: Runtime) -> CountedRoute:
        """Return a layer for a version of a route."""
        key = route.prefix or route.name
        layer = CountedRoute(
            route, runtime.service, functools.partial(self._budget, key), self._closed
        )
        self._layers[layer.fingerprint] = layer
        if self._timer is None:
            self._timer = self._loop.call_later(_PERIOD_S, self._report)
        return layer

    def _budget(self, route_key: str, shadow: DeploymentId) -> ShadowBudget:
        """Return the budget of a shadow, shared by all versions of the route."""
        return self._budgets.setdefault((route_key, shadow), ShadowBudget())

    def _closed(self, layer: CountedRoute, replaced: bool) -> None:
        if self._layers.get(layer.fingerprint) is layer:
            del self._layers[layer.fingerprint]
        if replaced:
            return  # copies in flight continue
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
            except PluginError as error:  # the report is too long while there are so many routes
                if not self._has_failed:
                    log.error("cannot report the route counts of this process: %s", error)
                self._has_failed = True
            else:
                self._has_failed = False
        if self._layers:
            self._timer = self._loop.call_later(_PERIOD_S, self._report)


_reporters: weakref.WeakKeyDictionary[Runtime, RouteReporter] = weakref.WeakKeyDictionary()
"""Reporters by runtime: one per process, or several in the local cluster."""


def counted_route(route: Route, runtime: Runtime) -> CountedRoute:
    """Return this process's layer for a version of a route."""
    reporter = _reporters.get(runtime)
    if reporter is None:
        reporter = _reporters[runtime] = RouteReporter(runtime)
    return reporter.layer(route, runtime)
