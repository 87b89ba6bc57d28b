"""Layers around the calls that a process makes by a route."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ._deployment_id import DeploymentId
from ._requests import Reply, Service


class RouteLayer(Protocol):
    """A layer around the calls by one version of a route, in one process.

    Returned by the hook `wrap_route`. Its methods run on the runtime's event loop, never per
    request. A change of a weight, of a shadow or of a target's code makes a new version.
    """

    def wrap(self, service: Service, failed: Callable[[Reply], bool]) -> Service:
        """Return a service around the choice of a target.

        Called for each user of the route in the process. A call whose target is gone is sent again
        by the newer version of the route, and passes the newer layer with `Call.no_shadow`.

        Args:
            failed: Returns whether a reply stands for an error, as raised exceptions do.
        """

    def wrap_target(
        self, target: DeploymentId, service: Service, failed: Callable[[Reply], bool]
    ) -> Service:
        """Return a service around the calls of one target.

        Called for each user of the route in the process.

        Args:
            failed: Returns whether a reply stands for an error, as raised exceptions do.
        """

    def close(self, *, replaced: bool) -> None:
        """Called when no new calls use this version. Calls in flight continue.

        Args:
            replaced: Whether the route has changed or is gone. Otherwise the process disconnects
                from its instance.
        """
