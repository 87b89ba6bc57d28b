"""A route with several targets, or with layers of plugins. A `Split` is one version of a route."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence

from ..errors import DeploymentUnavailableError
from ..types import Call, DeploymentId, Reply, Route, RouteLayer, Service
from .weighted_choice import pick_by_key, pick_by_weight

__all__ = ["FailurePredicate", "Split", "Successor"]

FailurePredicate = Callable[[Reply], bool]
"""Returns whether a reply stands for an error."""
Successor = Callable[
    ["Split", DeploymentId, FailurePredicate], Awaitable[tuple[Route, Service] | None]
]


class Split:
    """One version of a route, in one process. Used on the runtime's event loop.

    Args:
        service_of: Returns the service of a deployment.
        layers: Layers of plugins, the first outermost.
        successor: After a target was unavailable, returns the route that has replaced this one,
            and its service; None if the route has not changed.
        draw: Returns random numbers from 0 up to 1.
    """

    def __init__(
        self,
        route: Route,
        service_of: Callable[[DeploymentId], Service],
        layers: Sequence[RouteLayer],
        successor: Successor,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.route = route
        self._service_of = service_of
        self._layers = layers
        self._successor = successor
        self._draw = draw
        self._targets = list(route.targets)
        self._names = [str(target) for target in self._targets]
        self._weights = list(route.targets.values())
        self._salt = route.name or route.prefix

    def service(self, failed: FailurePredicate) -> Service:
        """Return a service that calls one of the targets.

        Args:
            failed: Passed to the layers.
        """
        services = [self._wrap_target(target, failed) for target in self._targets]

        async def serve(call: Call) -> Reply:
            chosen = self._choose(call.routing_key)
            # A call that enters by this route belongs to the application of its target.
            entered = call.app == self.route.app
            if entered:
                call.app = self._targets[chosen].app
            try:
                return await services[chosen](call)
            except DeploymentUnavailableError as error:
                # The target may have lost its weight while the call waited for a replica. An error
                # of another deployment comes from user code, which has run.
                if error.deployment != self._names[chosen]:
                    raise
                found = await self._successor(self, self._targets[chosen], failed)
                if found is None:
                    raise
            route, service = found
            if entered:
                call.app = route.app
            call.no_shadow = True  # its shadow copies were sent before
            return await service(call)

        service: Service = serve
        for layer in reversed(self._layers):
            service = layer.wrap(service, failed)
        return service

    def close(self, *, replaced: bool) -> None:
        """Close the layers, because no more calls come."""
        for layer in self._layers:
            layer.close(replaced=replaced)

    def _wrap_target(self, target: DeploymentId, failed: FailurePredicate) -> Service:
        service = self._service_of(target)
        for layer in reversed(self._layers):
            service = layer.wrap_target(target, service, failed)
        return service

    def _choose(self, key: str) -> int:
        if len(self._targets) == 1:
            return 0
        if key:
            return pick_by_key(self._names, self._weights, key, self._salt)
        return pick_by_weight(self._weights, self._draw())
