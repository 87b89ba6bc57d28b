"""A route with several targets: which of them a call takes.

A `Split` is made for each version of a route. It adds a draw to a call, and whatever the layers of
plugins do.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence

from ..errors import DeploymentUnavailableError
from ..types import Call, DeploymentId, Reply, Route, RouteLayer, Service
from .weighted_choice import pick_by_key, pick_by_weight

__all__ = ["Failed", "Split", "Successor"]

Failed = Callable[[Reply], bool]
"""Says of a reply whether it stands for an error."""
Successor = Callable[["Split", DeploymentId, Failed], Awaitable[tuple[Route, Service] | None]]


class Split:
    """One version of a route, in one process. Lives on its runtime's loop.

    Args:
        service_of: Returns the service of a deployment.
        layers: Of plugins, the first outermost.
        successor: Returns what the route has become, since a target is unavailable, and the
            service of that; None while the route is as it was.
        draw: Returns numbers from 0 up to 1.
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

    def service(self, failed: Failed) -> Service:
        """Return a service that calls one of the targets.

        Args:
            failed: Handed to the layers.
        """
        services = [self._wrapped(target, failed) for target in self._targets]

        async def call(call: Call) -> Reply:
            chosen = self._choose(call.routing_key)
            # A call that comes in by this route is in the application that answers it.
            entered = call.app == self.route.app
            if entered:
                call.app = self._targets[chosen].app
            try:
                return await services[chosen](call)
            except DeploymentUnavailableError as error:
                # Its weight may have been taken away while the call was waiting for a replica. Of
                # another deployment, the error is what the user's code met, which has run.
                if error.deployment != self._names[chosen]:
                    raise
                found = await self._successor(self, self._targets[chosen], failed)
                if found is None:
                    raise
            route, service = found
            if entered:
                call.app = route.app
            call.no_shadow = True  # its copies are on their ways
            return await service(call)

        service: Service = call
        for layer in reversed(self._layers):
            service = layer.wrap(service, failed)
        return service

    def close(self, *, replaced: bool) -> None:
        """Tell the layers that no more calls come."""
        for layer in self._layers:
            layer.close(replaced=replaced)

    def _wrapped(self, target: DeploymentId, failed: Failed) -> Service:
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
