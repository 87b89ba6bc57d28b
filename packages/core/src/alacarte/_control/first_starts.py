"""Applications behind routes that are starting for the first time. Pure.

HTTP requests to such an application get 503 with Retry-After at once. Requests to an application
that has run before, or is scaled to zero, wait for a replica.
"""

from __future__ import annotations

from .._model.plan import Plan
from ..types import DeploymentId

__all__ = ["FirstStarts"]


class FirstStarts:
    """Tracks the deployments behind routes until each application has had a replica.

    Attributes:
        changed: `take` would return a different set from the last one.
    """

    def __init__(self) -> None:
        self.changed = False
        self._routed: frozenset[DeploymentId] = frozenset()
        self._ran: set[str] = set()
        self._starting: set[str] = set()

    def resume(self, plan: Plan) -> None:
        """Mark all applications of a recovered plan as having run."""
        self._ran.update(deployment.app for deployment in plan.deployments)

    def set_plan(self, plan: Plan) -> None:
        """Replace the plan."""
        apps = {deployment.app for deployment in plan.deployments}
        self._routed = frozenset(target for route in plan.routes for target in route.targets)
        self._ran &= apps
        self._starting &= apps

    def update(self, deployment: DeploymentId, ready: int, wanted: int, *, failed: bool) -> None:
        """Update a deployment's number of ready and of wanted replicas."""
        app = deployment.app
        if app in self._ran or deployment not in self._routed:
            return
        starting = not ready and not failed and wanted > 0
        if not starting and not failed:
            # Scaled to zero: calls trigger the start, so they wait.
            self._ran.add(app)
        if starting != (app in self._starting):
            self._starting.symmetric_difference_update((app,))
            self.changed = True

    def take(self) -> frozenset[str]:
        """Return the applications that are starting for the first time, and reset `changed`."""
        self.changed = False
        return frozenset(self._starting)
