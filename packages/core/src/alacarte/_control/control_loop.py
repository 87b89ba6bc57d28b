"""The control loop: brings the replicas of every deployment in line with the plan.

It decides nothing itself. What replicas are started and drained is decided by `reconcile`, how many
there should be by the options or by autoscaling.
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
_FAULT_RETRY_S = 1.0


class ControlLoop:
    """The replica groups of an instance. Lives on the controller's loop.

    Args:
        context: Of the controller's actor.
        foundation: Of the instance.
        gate: Says when replicas may start.
        publisher: Publishes every group that has changed.
        topics: Has the receivers of reports.

    Attributes:
        plan: The plan that is pursued.
        groups: By deployment; those that are not in the plan any more, while they drain.
        scaling: The scaler, which changes the counts of deployments.
        capacity: Compares the plan with the cluster.
    """

    def __init__(
        self,
        context: ActorContext,
        foundation: BootstrapResult,
        gate: StartGate,
        publisher: Publisher,
        topics: ReportTopics,
    ) -> None:
        self.plan = Plan()
        self.groups: dict[DeploymentId, ReplicaGroup] = {}
        self.capacity = CapacityReview(context.cluster, self._wanted_places, self._note_capacity)
        prefix = instance_prefix(foundation.membership.instance)
        self.scaling = Scaling(context, prefix, topics, self._scale, foundation.scaler)
        self._context = context
        self._plugins = context.plugins
        self._membership: Membership = foundation.membership
        self._gate = gate
        self._publisher = publisher
        self._queue = WorkQueue()
        self._callers: dict[DeploymentId, frozenset[DeploymentId]] = {}
        self._turn = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    def adopt(self, foundation: BootstrapResult, plan: Plan) -> None:
        """Take in the replicas that a former controller left running, before anything else."""
        self.plan = plan
        for each in foundation.survivors:
            spec = plan.deployments.get(each.started.deployment)
            if spec is None or each.membership.secret != self._membership.secret:
                # Nobody wants it any more, but its last requests may be under way.
                foundation.recovery.dismiss(each.actor)
                continue
            group = self.groups.get(spec.id)
            if group is None:
                group = self.groups[spec.id] = self._new_group(spec.id)
                self._want(group, spec)
            group.adopt(each.actor, each.started)
        for group in self.groups.values():
            self.publish(group)
        if foundation.is_recovered:
            self._publisher.recover(plan)

    def start(self) -> None:
        """Begin to reconcile."""
        self.scaling.start()
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Kill the replicas that are left, and reconcile no more."""
        for group in self.groups.values():
            group.kill()
        if self._running is not None:
            self._running.cancel()
        await self.scaling.close()

    async def next_turn(self) -> None:
        """Return when groups have been reconciled the next time."""
        await self._turn.wait()

    async def _run(self) -> None:
        while True:
            # A task that is cancelled before its first step would clean nothing up.
            await asyncio.sleep(0)
            for deployment in await self._queue.take():
                group = self.groups.get(deployment)
                if group is not None:
                    self._queue.add_after(deployment, self._reconcile(group))
            self._turn.set()
            self._turn = asyncio.Event()

    def _reconcile(self, group: ReplicaGroup) -> float | None:
        try:
            delay_s = group.reconcile()
            self.publish(group)
            if self._publisher.starts_changed:
                self._publisher.routes()
            self.scaling.running(group.deployment, len(group.entries))
            if group.gone:
                self._forget(group.deployment)
            if group.spec is None or not group.changing:
                self._delete_callees(group.deployment)
        except Exception as error:  # one deployment's bug must not stop the others
            log.exception("%s could not be reconciled", group.deployment)
            group.fault(error)
            return _FAULT_RETRY_S
        return delay_s

    def _forget(self, deployment: DeploymentId) -> None:
        del self.groups[deployment]
        self._publisher.absent(deployment)

    def refresh(self, group: ReplicaGroup) -> DeploymentStatusOverview:
        """Return a deployment's status without details; send plugins an event when it changes."""
        before = group.condition
        overview = group.refresh()
        if group.condition != before:
            facts = overview.status.value, overview.message
            self._plugins.on_event(Event("deployment", str(group.deployment), *facts))
        return overview

    def publish(self, group: ReplicaGroup) -> None:
        """Publish a deployment as it is now."""
        self._publisher.deployment(group, self.refresh(group).status)

    # --- the plan -----------------------------------------------------------------------

    def pursue(self, plan: Plan) -> None:
        """Bring the groups and the routes in line with a plan from now on."""
        before, self.plan = self.plan, plan
        touched = [*self._apply(plan), *self._defer_deletions(before, plan)]
        self._publisher.follow(plan)
        for group in touched:
            self._queue.add(group.deployment)
            # At once: a driver that waits for this must not see how it was before.
            self.publish(group)
        self._publisher.routes()
        self.capacity.changed()

    def _apply(self, plan: Plan) -> Iterator[ReplicaGroup]:
        """Change what is wanted of each group; yield those where it has changed."""
        for deployment, spec in plan.deployments.items():
            group = self.groups.get(deployment)
            if group is None:
                group = self.groups[deployment] = self._new_group(deployment)
            if group.spec is not spec:
                self._want(group, spec)
                yield group

    def _want(self, group: ReplicaGroup, spec: DeploymentSpec) -> None:
        current = None if group.target is None else group.target.replicas
        group.want(spec, self.scaling.want(spec, current))

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
        """Delete the groups that are not in the plan, each after those that may call it.

        Returns:
            All of them.
        """
        removed = [
            group
            for deployment, group in self.groups.items()
            if deployment not in plan.deployments and not group.is_leaving
        ]
        for group in removed:
            group.defer_deletion()
            self._callers[group.deployment] = callers_of(group.deployment, before)
        for group in removed:
            self._delete(group.deployment)
        return removed

    def _delete(self, deployment: DeploymentId) -> None:
        """Delete a group whose deletion was deferred, once nothing runs that may call it."""
        group = self.groups.get(deployment)
        if group is None or not group.deletion_deferred:
            return
        callers = [self.groups.get(caller) for caller in self._callers.get(deployment, ())]
        if not any(caller is not None and caller.changing for caller in callers):
            self._callers.pop(deployment, None)
            self.scaling.forget(deployment)
            group.want(None)
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

    def _wanted_places(self) -> dict[DeploymentId, tuple[ActorSpec, int]]:
        places = {deployment: group.wanted_place for deployment, group in self.groups.items()}
        return {deployment: place for deployment, place in places.items() if place is not None}

    def _note_capacity(self, too_large: Mapping[DeploymentId, str]) -> None:
        for deployment, group in self.groups.items():
            group.too_large = too_large.get(deployment, "")

    def migrate(self, leaving: Mapping[str, float]) -> None:
        """Have replicas replaced that are on nodes about to leave; see `ReplicaGroup.migrate`."""
        for group in self.groups.values():
            group.migrate(leaving)

    @property
    def actor_names(self) -> set[str]:
        """The names of all actors that a group follows."""
        return {name for group in self.groups.values() for name in group.actor_names}
