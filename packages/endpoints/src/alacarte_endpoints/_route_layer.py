"""Layer around the calls by a route: counters of the targets, and copies for shadows."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from alacarte.errors import InvalidRequestError
from alacarte.types import Call, DeploymentId, Reply, Route, Service

from ._call_counter import CallCounter, RouteReport
from ._shadow_body import ShadowBudget
from ._shadows import Failed, Shadow, Shadows

__all__ = ["CountedRoute"]

Closed = Callable[["CountedRoute", bool], object]


class CountedRoute:
    """Counts the calls by one version of a route, and sends copies to shadows. A `RouteLayer`.

    Args:
        service_of: Returns the service of a deployment.
        budget_of: Returns the budget for copies to a shadow.
        closed: Called by `close`, with this layer and whether the layer is replaced.
        draw: Returns random numbers from 0 up to 1, for the choice of copied calls.

    Attributes:
        fingerprint: Fingerprint of the route.
        since: Creation time of the layer, in seconds since 1970.
    """

    def __init__(
        self,
        route: Route,
        service_of: Callable[[DeploymentId], Service],
        budget_of: Callable[[DeploymentId], ShadowBudget],
        closed: Closed,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.fingerprint = route.fingerprint
        self.since = time.time()
        self._closed = closed
        self._counters = {target: CallCounter() for target in route.targets}
        self._shadows = [
            Shadow(deployment, share, service_of(deployment), budget_of(deployment))
            for deployment, share in route.shadows.items()
        ]
        self._copies = Shadows(route.app, self._shadows, draw)

    def wrap(self, service: Service, failed: Failed) -> Service:
        """Return a service that also sends copies to the shadows of the route."""
        return self._copies.wrap(service, failed) if self._shadows else service

    def wrap_target(self, target: DeploymentId, service: Service, failed: Failed) -> Service:
        """Return a service that counts the calls of a target."""
        counter = self._counters[target]

        async def serve(call: Call) -> Reply:
            began = time.perf_counter()
            try:
                reply = await service(call)
            except Exception as error:
                failure = not isinstance(error, InvalidRequestError)
                counter.note(time.perf_counter() - began, failure)
                raise  # cancelled calls are not counted
            counter.note(time.perf_counter() - began, failed(reply))
            return reply

        return serve

    def close(self, *, replaced: bool) -> None:
        """Notify the process's reporter that no new calls use this version."""
        self._closed(self, replaced)

    @property
    def events(self) -> int:
        """Number of changes of the counters."""
        return sum(each.events for each in self._counters.values()) + sum(
            each.counter.events for each in self._shadows
        )

    def report(self) -> RouteReport:
        """Return a report of the counters."""
        targets = [
            each.report(str(target), is_shadow=False) for target, each in self._counters.items()
        ]
        targets += [
            each.counter.report(str(each.deployment), is_shadow=True) for each in self._shadows
        ]
        return RouteReport(self.fingerprint, self.since, tuple(targets))
