"""The control loop: reconciles the replicas of every deployment with the plan.

The loop makes no decisions: `reconcile` chooses the replicas to start and to drain, and the options
or autoscaling set the number of replicas.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping

from .._cluster.actor_names import instance_prefix
from .._cluster.cluster_protocol import ActorContext, ActorSpec
from .._model.deployment_spec import DeploymentSpec
from .._model.plan import Plan
from ..actors import Membership
from ..status import DeploymentStatusOverview, ReplicaState
from ..types import DeploymentId, Event
from .bootstrap import BootstrapResult
from .capacity_review import CapacityReview
from .desired_state import callers_of
from .publisher import Publisher
from .replica_group import ReplicaGroup
from .report_topics import ReportTopics
from .scaling import Scaling
from .start_gate import StartGate
from .work_queue import WorkQueue

__all__ = ["ControlLoop"]

log = logging.getLogger("alacarte.controller")
_ERROR_RETRY_S = 1.0


class ControlLoop:
    """The reconcile loop over the replica groups of an instance. Lives on the controller's loop.

    Args:
        context: Context of the controller's actor.
        bootstrap: Initial state of the instance.
        gate: Limits concurrent starts of replicas.
        publisher: Publishes every group that has changed.
        topics: Holds the receivers of reports.

    Attributes:
        plan: The plan to reconcile with.
        groups: Replica groups by deployment, including those of deleted deployments that drain.
        scaling: The scaler, which changes numbers of replicas.
        capacity: Compares the plan with the cluster.
    """

    def __init__(
        self,
        context: ActorContext,
        bootstrap: BootstrapResult,
        gate: StartGate,
        publisher: Publisher,
        topics: ReportTopics,
    ) -> None:
        self.plan = Plan()
        self.groups: dict[DeploymentId, ReplicaGroup] = {}
        self.capacity = CapacityReview(context.cluster, self._resource_demands, self._note_capacity)
        prefix = instance_prefix(bootstrap.membership.instance)
        self.scaling = Scaling(context, prefix, topics, self._scale, bootstrap.scaler)
        self._context = context
        self._plugins = context.plugins
        self._membership: Membership = bootstrap.membership
        self._gate = gate
        self._publisher = publisher
        self._queue = WorkQueue()
        self._callers: dict[DeploymentId, frozenset[DeploymentId]] = {}
        self._pass_ended = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    def adopt(self, bootstrap: BootstrapResult, plan: Plan) -> None:
        """Take over the replicas of a former controller. Call first."""
        self.plan = plan
        for each in bootstrap.survivors:
            spec = plan.deployments.get(each.info.deployment)
            if spec is None or each.membership.secret != self._membership.secret:
                # Its deployment is deleted, but its last requests may be in progress.
                bootstrap.recovery.drain(each.actor)
                continue
            group = self.groups.get(spec.id)
            if group is None:
                group = self.groups[spec.id] = self._new_group(spec.id)
                self._set_spec(group, spec)
            group.adopt(each.actor, each.info)
        for group in self.groups.values():
            self.publish(group)
        if bootstrap.is_recovered:
            self._publisher.recover(plan)

    def start(self) -> None:
        """Start the loop."""
        self.scaling.start()
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Kill the remaining replicas and stop the loop."""
        for group in self.groups.values():
            group.kill()
        if self._running is not None:
            self._running.cancel()
        await self.scaling.close()

    async def next_pass(self) -> None:
        """Wait for the end of the next reconcile pass."""
        await self._pass_ended.wait()

    async def _run(self) -> None:
        while True:
            # One step for new tasks: a task cancelled before its first step runs no cleanup.
            await asyncio.sleep(0)
            for deployment in await self._queue.take():
                group = self.groups.get(deployment)
                if group is not None:
                    self._queue.add_after(deployment, self._reconcile(group))
            self._pass_ended.set()
            self._pass_ended = asyncio.Event()

    def _reconcile(self, group: ReplicaGroup) -> float | None:
        try:
            delay_s = group.reconcile()
            self.publish(group)
            if self._publisher.starts_changed:
                self._publisher.publish_routes()
            self.scaling.running(group.deployment, len(group.entries))
            if group.has_ended:
                self._forget(group.deployment)
            if group.spec is None or not group.is_changing:
                self._delete_callees(group.deployment)
        except Exception as error:  # one deployment's bug must not stop the others
            log.exception("%s could not be reconciled", group.deployment)
            group.report_internal_error(error)
            return _ERROR_RETRY_S
        return delay_s

    def _forget(self, deployment: DeploymentId) -> None:
        del self.groups[deployment]
        self._publisher.publish_absent(deployment)

    def refresh_status(self, group: ReplicaGroup) -> DeploymentStatusOverview:
        """Return a deployment's status without details, and report a change to plugins."""
        before = group.status
        overview = group.refresh_status()
        if group.status != before:
            status = overview.status.value
            event = Event("deployment", str(group.deployment), status, overview.message)
            self._plugins.on_event(event)
        return overview

    def publish(self, group: ReplicaGroup) -> None:
        """Publish the current state of a deployment."""
        self._publisher.publish_deployment(group, self.refresh_status(group).status)

    # --- the plan -----------------------------------------------------------------------

    def apply_plan(self, plan: Plan) -> None:
        """Reconcile the groups and the routes with a new plan from now on."""
        before, self.plan = self.plan, plan
        touched = [*self._apply_specs(plan), *self._defer_deletions(before, plan)]
        self._publisher.set_plan(plan)
        for group in touched:
            self._queue.add(group.deployment)
            # At once: a driver that waits for this change must not see the old status.
            self.publish(group)
        self._publisher.publish_routes()
        self.capacity.changed()

    def _apply_specs(self, plan: Plan) -> Iterator[ReplicaGroup]:
        """Set the spec of each group; yield the groups whose spec has changed."""
        for deployment, spec in plan.deployments.items():
            group = self.groups.get(deployment)
            if group is None:
                group = self.groups[deployment] = self._new_group(deployment)
            if group.spec is not spec:
                self._set_spec(group, spec)
                yield group

    def _set_spec(self, group: ReplicaGroup, spec: DeploymentSpec) -> None:
        current = None if group.target is None else group.target.replicas
        group.set_spec(spec, self.scaling.want(spec, current))

    def _new_group(self, deployment: DeploymentId) -> ReplicaGroup:
        def observed(replica_id: str, state: ReplicaState, message: str) -> None:
            self._plugins.on_event(Event("replica", replica_id, state.value, message))

        return ReplicaGroup(
            deployment,
            self._context.cluster,
            self._membership,
            self._plugins.loaded,
            self._gate,
            self._queue.add,
            observed,
        )

    def _defer_deletions(self, before: Plan, plan: Plan) -> list[ReplicaGroup]:
        """Delete the groups that are not in the plan, each after the groups that may call it.

        Returns:
            All groups to delete.
        """
        removed = [
            group
            for deployment, group in self.groups.items()
            if deployment not in plan.deployments and not group.is_being_deleted
        ]
        for group in removed:
            group.defer_deletion()
            self._callers[group.deployment] = callers_of(group.deployment, before)
        for group in removed:
            self._delete(group.deployment)
        return removed

    def _delete(self, deployment: DeploymentId) -> None:
        """Delete a group whose deletion was deferred, unless a caller of it still runs."""
        group = self.groups.get(deployment)
        if group is None or not group.deletion_deferred:
            return
        callers = [self.groups.get(caller) for caller in self._callers.get(deployment, ())]
        if not any(caller is not None and caller.is_changing for caller in callers):
            self._callers.pop(deployment, None)
            self.scaling.forget(deployment)
            group.set_spec(None)
            self._queue.add(deployment)

    def _delete_callees(self, caller: DeploymentId) -> None:
        for deployment in [each for each, callers in self._callers.items() if caller in callers]:
            self._delete(deployment)

    # --- the cluster --------------------------------------------------------------------

    def _scale(self, deployment: DeploymentId, replicas: int) -> None:
        group = self.groups.get(deployment)
        if group is not None:
            group.scale(replicas)
            self.capacity.changed()

    def _resource_demands(self) -> dict[DeploymentId, tuple[ActorSpec, int]]:
        demands = {deployment: group.resource_demand for deployment, group in self.groups.items()}
        return {deployment: each for deployment, each in demands.items() if each is not None}

    def _note_capacity(self, too_large: Mapping[DeploymentId, str]) -> None:
        for deployment, group in self.groups.items():
            group.too_large = too_large.get(deployment, "")

    def migrate(self, drain_deadlines: Mapping[str, float]) -> None:
        """Migrate replicas off draining nodes; see `ReplicaGroup.migrate`."""
        for group in self.groups.values():
            group.migrate(drain_deadlines)

    @property
    def actor_names(self) -> set[str]:
        """The names of the actors of all groups."""
        return {name for group in self.groups.values() for name in group.actor_names}
