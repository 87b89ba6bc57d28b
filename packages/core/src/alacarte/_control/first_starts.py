"""Which applications behind the routes have never answered yet. Pure.

Their callers over HTTP are told so at once, and when to ask again; those of an application that has
run wait for its next replica, as those of one that was scaled to zero wait for the first.
"""

from __future__ import annotations

from .._model.plan import Plan
from ..types import DeploymentId

__all__ = ["FirstStarts"]


class FirstStarts:
    """Follows the deployments that routes lead to, until each application has had a replica.

    Attributes:
        changed: `take` would return another set than the last time.
    """

    def __init__(self) -> None:
        self.changed = False
        self._entrances: frozenset[DeploymentId] = frozenset()
        self._ran: set[str] = set()
        self._starting: set[str] = set()

    def resume(self, plan: Plan) -> None:
        """Count what a former controller has left as having run."""
        self._ran.update(deployment.app for deployment in plan.deployments)

    def expand(self, plan: Plan) -> None:
        """Take over what is wanted now."""
        apps = {deployment.app for deployment in plan.deployments}
        self._entrances = frozenset(target for route in plan.routes for target in route.targets)
        self._ran &= apps
        self._starting &= apps

    def note(self, deployment: DeploymentId, ready: int, wanted: int, *, failed: bool) -> None:
        """Take over how many replicas a deployment has, and how many it is to have."""
        app = deployment.app
        if app in self._ran or deployment not in self._entrances:
            return
        starting = not ready and not failed and wanted > 0
        if not starting and not failed:
            # With none wanted, calls are what lets it start: they wait.
            self._ran.add(app)
        if starting != (app in self._starting):
            self._starting.symmetric_difference_update((app,))
            self.changed = True

    def take(self) -> frozenset[str]:
        """Return the applications that start for the first time."""
        self.changed = False
        return frozenset(self._starting)
