"""The layer of a route whose own layers could not be created: its calls fail, others do not."""

from __future__ import annotations

from ..errors import PluginError
from ..types import Call, DeploymentId, Reply, Service
from .split import FailurePredicate

__all__ = ["FailedRoute"]


class FailedRoute:
    """A `RouteLayer` in place of one that a plugin failed to create.

    Args:
        message: Message of the `PluginError` that each call raises.
    """

    def __init__(self, message: str) -> None:
        self._message = message

    def wrap(self, service: Service, failed: FailurePredicate) -> Service:
        """Return a service that raises the error."""

        async def fail(call: Call) -> Reply:
            raise PluginError(self._message)

        return fail

    def wrap_target(
        self, target: DeploymentId, service: Service, failed: FailurePredicate
    ) -> Service:
        """Return the service unchanged, since no call reaches it."""
        return service

    def close(self, *, replaced: bool) -> None:
        """Do nothing."""
