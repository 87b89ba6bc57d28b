"""The replicas of one deployment, with their target.

Carries out the actions that `reconcile` returns. Lives on the controller's loop. Every change ends
in a call of `changed`, after which the control loop reconciles the group again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from .._cluster.actor_names import replica_prefix
from .._cluster.cluster_protocol import Actor, ActorSpec, Cluster
from .._model.deployment_spec import DeploymentSpec
from .._plugins import PluginRecord
from ..actors import Membership, ReplicaEntry, ReplicaInfo
from ..status import DeploymentStatus, DeploymentStatusOverview, Failure, ReplicaState
from ..types import DeploymentId
from .deployment_status import Condition, waiting_for
from .desired_state import target_of
from .failure_history import FailureHistory
from .health import out_of_rotation
from .lifecycle import SERVING, ReplicaEvent
from .managed_replica import WAITS_FOR_PROCESS, ManagedReplica
from .placement import placement_of, replica_actor_spec
from .progress import Progress
from .reconcile import (
    Drain,
    Reconfigure,
    ReplicaView,
    Settings,
    Start,
    Target,
    next_wakeup,
    placement_blocked_since,
)
from .reconcile import reconcile as actions_for
from .shortage import Reminder, waiting_line
from .start_gate import StartGate

__all__ = ["ReplicaGroup"]

log = logging.getLogger("alacarte.controller")
_REMINDER_S = (4.0, 30.0, 3600.0)
"""Times of the log lines about a waiting deployment: the first after 5 s, the next 30 s later."""


class ReplicaGroup:
    """All replicas of one deployment.

    Args:
        cluster: Runs the replicas.
        membership: Passed to each process.
        plugins: The plugins that every process must load.
        gate: Limits concurrent starts.
        changed: Called after each change.
        observed: Called with the id, the state and a message after every replica's transition.

    Attributes:
        spec: The desired spec; None for a deployment that is being deleted.
        target: Target of `reconcile`, from `spec` and autoscaling.
        deletion_deferred: The deployment runs until its callers have ended, and is then deleted.
        too_large: Message why the deployment does not fit into the cluster, "" if it does.
    """

    def __init__(
        self,
        deployment: DeploymentId,
        cluster: Cluster,
        membership: Membership,
        plugins: tuple[PluginRecord, ...],
        gate: StartGate,
        changed: Callable[[DeploymentId], None],
        observed: Callable[[str, ReplicaState, str], None],
    ) -> None:
        self.deployment = deployment
        self.spec: DeploymentSpec | None = None
        self.target: Target | None = None
        self.deletion_deferred = False
        self.too_large = ""
        self._cluster = cluster
        self._membership = membership
        self._plugins = plugins
        self._gate = gate
        self._changed = changed
        self._observed = observed
        self._replicas: dict[str, ManagedReplica] = {}
        self._failures = FailureHistory()
        self._progress = Progress()
        self._freed_at = 0.0
        self._blocked_since: float | None = None
        self._reminder = Reminder(*_REMINDER_S)
        self._loop = asyncio.get_running_loop()
        self._placement_timeout_s: float = membership.config["cluster"]["actor_start_timeout_s"]
        self._views: list[ReplicaView] | None = None
        self._entries: tuple[ReplicaEntry, ...] | None = None

    @property
    def status(self) -> Condition:
        """The deployment's status."""
        return self._progress.condition

    @property
    def views(self) -> list[ReplicaView]:
        """The facts about all replicas that `reconcile` decides by."""
        if self._views is None:
            self._views = [replica.view for replica in self._replicas.values()]
        return self._views

    @property
    def entries(self) -> tuple[ReplicaEntry, ...]:
        """The replicas that accept calls. The same object until a change."""
        if self._entries is None:
            self._entries = self._routable()
        return self._entries

    def _routable(self) -> tuple[ReplicaEntry, ...]:
        serving = [replica for replica in self._replicas.values() if replica.state in SERVING]
        excluded = out_of_rotation([replica.is_degraded for replica in serving])
        return tuple(
            replica.entry
            for replica, is_excluded in zip(serving, excluded, strict=True)
            if replica.entry is not None and not is_excluded
        )

    @property
    def actor_names(self) -> set[str]:
        """The names of the replicas' actors."""
        prefix = replica_prefix(self._membership.instance)
        return {prefix + replica_id for replica_id in self._replicas}

    @property
    def has_ended(self) -> bool:
        """Whether the deployment is deleted and its last replica has ended."""
        return self.spec is None and not self._replicas

    @property
    def is_being_deleted(self) -> bool:
        """Whether the deployment is being deleted, or will be."""
        return self.spec is None or self.deletion_deferred

    @property
    def is_changing(self) -> bool:
        """Whether replicas of another version, or of a deleted deployment, still run."""
        if self.deletion_deferred:
            return True
        version = None if self.spec is None else self.spec.version
        return any(replica.spec.version != version for replica in self._replicas.values())

    @property
    def full_overview(self) -> DeploymentStatusOverview:
        """The deployment's status with its replicas and failures."""
        views = self.views
        failures, pause_s = self._failures.failed_starts, self._failures.pause_s(self._loop.time())
        waits = waiting_for(self.target, views, failures=failures, pause_s=pause_s)
        if self.deletion_deferred:
            waits = ["the end of the deployments that call this one"]
        replicas = tuple(replica.overview for replica in self._replicas.values())
        starting = {each.message for each in replicas if each.state is ReplicaState.STARTING}
        waits += sorted(text.removeprefix("waits for ") for text in starting - {WAITS_FOR_PROCESS})
        return replace(
            self.short_overview(views),
            waiting_for="; ".join(waits),
            replicas=replicas,
            recent_failures=self._failures.recent,
        )

    def short_overview(self, views: Sequence[ReplicaView]) -> DeploymentStatusOverview:
        """Return the deployment's status without details."""
        message, deferred = self._failures.message, self.deletion_deferred
        if not deferred:
            message = message or self.too_large
        return self._progress.overview(self.target, views, message, deletion_deferred=deferred)

    @property
    def resource_demand(self) -> tuple[ActorSpec, int] | None:
        """The placement of a replica and the number of replicas; None during deletion."""
        if self.spec is None or self.target is None or self.deletion_deferred:
            return None
        return placement_of(self.spec), self.target.replicas

    def set_spec(self, spec: DeploymentSpec | None, scale: int | None = None) -> None:
        """Replace the spec; None deletes the deployment. A failed deployment starts again.

        Args:
            scale: Number of replicas that autoscaling has chosen; None for `num_replicas`.
        """
        before, self.spec = self.target, spec
        for replica in self._replicas.values():
            if spec is not None and replica.spec.version == spec.version:
                replica.spec = spec  # the controller's own options: periods and timeouts
        self.deletion_deferred = False
        after = None if spec is None else target_of(spec, scale)
        self._set_target(after, automatic=False)
        is_new = (
            after is None
            or before is None
            or (after.version, after.settings) != (before.version, before.settings)
        )
        if is_new:
            for replica in self._replicas.values():
                replica.clear_settings_error()
        self._failures.reset(is_new=is_new)

    def defer_deletion(self) -> None:
        """Keep running until `set_spec(None)`, which follows the end of all callers."""
        self.deletion_deferred = True

    def scale(self, replicas: int) -> None:
        """Set the number of replicas, for autoscaling."""
        if self.target is not None and self.target.replicas != replicas:
            assert self.spec is not None
            self._set_target(target_of(self.spec, replicas), automatic=True)
            self._changed(self.deployment)

    def _set_target(self, target: Target | None, *, automatic: bool) -> None:
        before, self.target = self.target, target
        self._progress.set_target(before, target, automatic=automatic)

    def reconcile(self) -> float | None:
        """Carry out the next actions; return the seconds until the next call, None on change."""
        now = self._loop.time()
        pauses = []
        views = self.views
        self._blocked_since = placement_blocked_since(
            self._blocked_since, self.target, views, now=now, freed=self._freed_at
        )
        for action in actions_for(
            self.target,
            views,
            failures=self._failures.failed_starts,
            now=now,
            blocked_since=self._blocked_since,
        ):
            if isinstance(action, Start):
                if pause_s := self._failures.pause_s(now):
                    pauses.append(pause_s)
                    continue
                for _ in range(action.count):
                    self._start()
            elif isinstance(action, Drain):
                self._replicas[action.replica_id].drain()
            elif isinstance(action, Reconfigure):
                assert self.target is not None
                self._replicas[action.replica_id].reconfigure(self.target.settings)
        grace_s = self.target.grace_s if self.target else 0.0
        wakeup = next_wakeup(
            self.views,
            now=now,
            freed=self._freed_at,
            blocked_since=self._blocked_since,
            grace_s=grace_s,
        )
        return min([*pauses, wakeup] if wakeup is not None else pauses, default=None)

    def refresh_status(self) -> DeploymentStatusOverview:
        """Update the condition and return the status without details."""
        views = self.views
        failures = self._failures.failed_starts
        status = self._progress.refresh(self.target, views, failures=failures)
        if status is DeploymentStatus.HEALTHY:
            self._failures.message = ""
        if not any(replica.missing for replica in self._replicas.values()):
            self._reminder.reset()
        return self.short_overview(views)

    def adopt(self, actor: Actor, info: ReplicaInfo) -> None:
        """Take over a running replica of a former controller.

        Call `set_spec` first. A replica of another version drains as in any update.
        """
        assert self.spec is not None
        settings = Settings(info.max_ongoing, json.dumps(info.user_config), info.options)
        spec = replace(self.spec, version=info.version)
        replica = ManagedReplica(
            info.replica_id,
            spec,
            settings,
            self._cluster,
            self,
            self._placement_timeout_s,
            self._gate,
            ReplicaState.RECOVERING,
        )
        self._replicas[replica.replica_id] = replica
        replica.adopt(actor, info)

    def migrate(self, drain_deadlines: Mapping[str, float]) -> None:
        """Migrate the replicas on draining nodes.

        Args:
            drain_deadlines: Deadline of each draining node by id, on the loop's clock.
        """
        for replica in list(self._replicas.values()):
            if replica.entry is not None:
                replica.migrate(drain_deadlines.get(replica.entry.node_id))

    def report_internal_error(self, error: Exception) -> None:
        """Show an internal error in the status, until the group is reconciled without one."""
        self._failures.message = (
            f"{self.deployment}: internal error {error!r}; see the controller's log, and please "
            "report it."
        )
        self._progress.report_internal_error()

    def suspect(self, replica_id: str) -> None:
        """Probe a replica that does not answer a caller."""
        replica = self._replicas.get(replica_id)
        if replica is not None:
            replica.suspect()

    def kill(self) -> None:
        """Kill every process at once."""
        for replica in list(self._replicas.values()):
            replica.kill()
        self._replicas.clear()
        self._views = self._entries = None

    # --- ReplicaOwner -------------------------------------------------------------------

    def state_changed(self, replica: ManagedReplica, event: ReplicaEvent) -> None:
        if replica.state is ReplicaState.STOPPED:
            self._replicas.pop(replica.replica_id, None)
            self._freed_at = self._loop.time()
        elif replica.state in SERVING:
            self._record_run(replica)
        self._observed(replica.replica_id, replica.state, event.value)
        self.changed()

    def failed(self, replica: ManagedReplica, failure: Failure) -> None:
        self._failures.record(failure)
        if self._is_wanted(replica):
            self._failures.count_failure(
                failure,
                _subject(replica, failure),
                self._loop.time(),
                uptime_s=replica.uptime_s,
                blames_target=self._blames_target(replica, failure),
            )

    def resources_missing(self, replica: ManagedReplica) -> None:
        if not self._reminder.is_due(self._loop.time()):
            return
        waiting = sum(bool(each.missing) for each in self._replicas.values())
        log.warning("%s", waiting_line(str(self.deployment), waiting, replica.missing))

    def changed(self) -> None:
        self._views = self._entries = None
        self._changed(self.deployment)

    def _blames_target(self, replica: ManagedReplica, failure: Failure) -> bool:
        """Return whether a failure is the fault of the target, not of older settings."""
        assert self.target is not None
        if failure.kind == "cluster":
            return False  # an unresponsive cluster is not the code's fault
        return failure.kind in ("start", "reconfigure") or replica.settings == self.target.settings

    # ------------------------------------------------------------------------------------

    def _start(self) -> None:
        assert self.spec is not None
        assert self.target is not None
        replica_id = f"{self.deployment}#{secrets.token_hex(4)}"
        replica = ManagedReplica(
            replica_id,
            self.spec,
            self.target.settings,
            self._cluster,
            self,
            self._placement_timeout_s,
            self._gate,
        )
        self._replicas[replica_id] = replica
        self._views = None
        self._observed(replica_id, replica.state, "")
        avoid = {each.unresponsive_node_id for each in self._replicas.values()}
        replica.start(
            replica_actor_spec(replica_id, self.spec, self._membership, self._plugins, avoid)
        )

    def _record_run(self, replica: ManagedReplica) -> None:
        wanted = self.target
        if wanted and (replica.spec.version, replica.settings) == (wanted.version, wanted.settings):
            self._failures.record_run()

    def _is_wanted(self, replica: ManagedReplica) -> bool:
        return self.spec is not None and replica.spec.version == self.spec.version


def _subject(replica: ManagedReplica, failure: Failure) -> str:
    """Return the subject of a failure's message."""
    return {
        "start": f"{replica.spec.id}",
        "cluster": f"{replica.spec.id}",
        "health": f"replica {replica.replica_id} is not healthy",
        "reconfigure": f"replica {replica.replica_id} refused its user_config",
        "death": f"replica {replica.replica_id} died",
    }[failure.kind]
