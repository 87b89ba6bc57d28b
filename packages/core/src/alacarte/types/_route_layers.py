"""What stands around the calls that a process makes by a route."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ._deployment_id import DeploymentId
from ._requests import Reply, Service


class RouteLayer(Protocol):
    """Stands around the calls by one version of a route, in one process.

    Made by the hook `wrap_route`. Its methods are called on the runtime's event loop, none of them
    per request. Another version is another weight, another shadow or other code of a target.
    """

    def wrap(self, service: Service, failed: Callable[[Reply], bool]) -> Service:
        """Return a service around the choice of a target.

        Called again for each user of the route. A call that is sent again by a newer version of
        the route, because its target is gone, passes the newer layer too: with `Call.no_shadow`.

        Args:
            failed: Says whether a reply stands for an error, besides those that are raised.
        """

    def wrap_target(
        self, target: DeploymentId, service: Service, failed: Callable[[Reply], bool]
    ) -> Service:
        """Return a service around the calls that one target has been chosen for.

        Called again for each user of the route.

        Args:
            failed: As above.
        """

    def close(self, *, replaced: bool) -> None:
        """Take note that no more calls come by this version; those under way go on.

        Args:
            replaced: The route has changed, or is gone. Otherwise the process leaves its instance.
        """
