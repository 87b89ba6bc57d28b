"""A deployment's progress towards its target, as its status shows it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from ..status import DeploymentStatus, DeploymentStatusOverview, DeploymentStatusTrigger
from .reconcile import ReplicaView, Target
from .summary import Change, Condition, change_between, condition_of, overview_of

__all__ = ["Progress"]


class Progress:
    """What was asked for last, and how far the deployment is.

    Attributes:
        condition: The deployment's status.
    """

    def __init__(self) -> None:
        self.condition = Condition()
        self._change = Change.CONFIG

    def aim(self, before: Target | None, target: Target | None, *, automatic: bool) -> None:
        """Take over a new target.

        Args:
            automatic: Autoscaling asks for it.
        """
        if target is not None and target != before:
            # Whoever waits for an update still does when autoscaling changes the number.
            if self.condition.reached or not automatic:
                self._change = change_between(before, target, automatic=automatic)
            self.condition = replace(self.condition, reached=False)

    def refresh(
        self, target: Target | None, views: Sequence[ReplicaView], *, failures: int
    ) -> DeploymentStatus:
        """Bring the condition up to date with the replicas; return its status."""
        self.condition = condition_of(
            self.condition, self._change, target, views, failures=failures, now=time.time()
        )
        return self.condition.status

    def fault(self) -> None:
        """Show that something of ours has failed."""
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
