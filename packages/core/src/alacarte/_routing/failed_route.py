"""A route whose layers could not be had: its calls fail, and other routes go on."""

from __future__ import annotations

from ..errors import PluginError
from ..types import Call, DeploymentId, Reply, Service
from .split import Failed

__all__ = ["FailedRoute"]


class FailedRoute:
    """Stands in for the layer of a plugin that failed. A `RouteLayer`.

    Args:
        message: Of the `PluginError` that each call raises.
    """

    def __init__(self, message: str) -> None:
        self._message = message

    def wrap(self, service: Service, failed: Failed) -> Service:
        """Return a service that raises."""

        async def refuse(call: Call) -> Reply:
            raise PluginError(self._message)

        return refuse

    def wrap_target(self, target: DeploymentId, service: Service, failed: Failed) -> Service:
        """Return the service: no call reaches it."""
        return service

    def close(self, *, replaced: bool) -> None:
        """Do nothing."""
