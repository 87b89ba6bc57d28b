"""Progress of a deployment towards its target, for the status."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from ..status import DeploymentStatus, DeploymentStatusOverview, DeploymentStatusTrigger
from .deployment_status import Change, Condition, change_between, condition_of, overview_of
from .reconcile import ReplicaView, Target

__all__ = ["Progress"]


class Progress:
    """Progress of the last requested change.

    Attributes:
        condition: The deployment's status.
    """

    def __init__(self) -> None:
        self.condition = Condition()
        self._change = Change.CONFIG

    def set_target(self, before: Target | None, target: Target | None, *, automatic: bool) -> None:
        """Replace the target.

        Args:
            automatic: Autoscaling has chosen the target.
        """
        if target is not None and target != before:
            # A driver that waits for an update goes on waiting when autoscaling intervenes.
            if self.condition.reached or not automatic:
                self._change = change_between(before, target, automatic=automatic)
            self.condition = replace(self.condition, reached=False)

    def refresh(
        self, target: Target | None, views: Sequence[ReplicaView], *, failures: int
    ) -> DeploymentStatus:
        """Update the condition from the replicas and return its status."""
        self.condition = condition_of(
            self.condition, self._change, target, views, failures=failures, now=time.time()
        )
        return self.condition.status

    def report_internal_error(self) -> None:
        """Set the status to UNHEALTHY because of an internal error."""
        unhealthy, internal = DeploymentStatus.UNHEALTHY, DeploymentStatusTrigger.INTERNAL_ERROR
        self.condition = Condition(unhealthy, internal, time.time(), self.condition.reached)

    def overview(
        self,
        target: Target | None,
        views: Sequence[ReplicaView],
        message: str,
        *,
        deletion_deferred: bool,
    ) -> DeploymentStatusOverview:
        """Return the status without details."""
        condition = self.condition
        if deletion_deferred:
            condition = replace(
                condition,
                status=DeploymentStatus.UPDATING,
                trigger=DeploymentStatusTrigger.DELETING,
            )
        return overview_of(condition, target, views, message)
