"""The replicas of one deployment: how many and which are wanted, and which there are.

The thin side of `reconcile`: it carries out actions. Lives on the controller's loop; every change
ends in `changed`, after which the control loop reconciles the group again.
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
from .desired_state import target_of
from .failure_history import FailureHistory
from .health import resting
from .lifecycle import SERVING, ReplicaEvent
from .managed_replica import WAITS_FOR_PROCESS, ManagedReplica
from .placement import placement_of, replica_actor
from .progress import Progress
from .reconcile import (
    Drain,
    Reconfigure,
    ReplicaView,
    Settings,
    Start,
    Target,
    lacking_place,
    next_wakeup,
)
from .reconcile import reconcile as actions_for
from .shortage import Reminder, waiting_line
from .start_gate import StartGate
from .summary import Condition, waiting_for

__all__ = ["ReplicaGroup"]

log = logging.getLogger("alacarte.controller")
_REMINDER_S = (4.0, 30.0, 3600.0)
"""Lines about a deployment that waits: the first at the poll after 5 s, the next 30 s later."""


class ReplicaGroup:
    """All replicas of one deployment.

    Args:
        cluster: Where they run.
        membership: Handed to each process.
        plugins: Those that every process must load.
        gate: Says when replicas may start.
        changed: Called after each change.
        observed: Called with every replica's new state.

    Attributes:
        spec: The wanted one; None when the deployment is being deleted.
        target: Of reconciling, by `spec` and autoscaling.
        deletion_deferred: It will be deleted after those that may call it, and goes on until then.
        too_large: Why it cannot fit into the cluster as it is, "" where it can.
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
        self._account = FailureHistory()
        self._progress = Progress()
        self._freed_at = 0.0
        self._lacking_since: float | None = None
        self._reminder = Reminder(*_REMINDER_S)
        self._loop = asyncio.get_running_loop()
        self._patience_s: float = membership.config["cluster"]["actor_start_timeout_s"]
        self._views: list[ReplicaView] | None = None
        self._entries: tuple[ReplicaEntry, ...] | None = None

    @property
    def condition(self) -> Condition:
        """The deployment's status."""
        return self._progress.condition

    @property
    def views(self) -> list[ReplicaView]:
        if self._views is None:
            self._views = [replica.view for replica in self._replicas.values()]
        return self._views

    @property
    def entries(self) -> tuple[ReplicaEntry, ...]:
        """Replicas that calls may go to. The same object as long as nothing changes."""
        if self._entries is None:
            self._entries = self._routable()
        return self._entries

    def _routable(self) -> tuple[ReplicaEntry, ...]:
        serving = [replica for replica in self._replicas.values() if replica.state in SERVING]
        rest = resting([replica.in_doubt for replica in serving])
        return tuple(
            replica.entry
            for replica, rests in zip(serving, rest, strict=True)
            if replica.entry is not None and not rests
        )

    @property
    def actor_names(self) -> set[str]:
        """The actors it knows of."""
        prefix = replica_prefix(self._membership.instance)
        return {prefix + replica_id for replica_id in self._replicas}

    @property
    def gone(self) -> bool:
        return self.spec is None and not self._replicas

    @property
    def is_leaving(self) -> bool:
        """It will be deleted, or is being deleted."""
        return self.spec is None or self.deletion_deferred

    @property
    def changing(self) -> bool:
        """Replicas of another version, or of a deployment that is to go, still run."""
        if self.deletion_deferred:
            return True
        version = None if self.spec is None else self.spec.version
        return any(replica.spec.version != version for replica in self._replicas.values())

    @property
    def overview(self) -> DeploymentStatusOverview:
        views = self.views
        failures, pause_s = self._account.failed_starts, self._account.pause_s(self._loop.time())
        waits = waiting_for(self.target, views, failures=failures, pause_s=pause_s)
        if self.deletion_deferred:
            waits = ["those that may call it to end first"]
        replicas = tuple(replica.overview for replica in self._replicas.values())
        starting = {each.message for each in replicas if each.state is ReplicaState.STARTING}
        waits += sorted(text.removeprefix("waits for ") for text in starting - {WAITS_FOR_PROCESS})
        return replace(
            self.summary(views),
            waiting_for="; ".join(waits),
            replicas=replicas,
            recent_failures=self._account.recent,
        )

    def summary(self, views: Sequence[ReplicaView]) -> DeploymentStatusOverview:
        """Return its status without details."""
        message, deferred = self._account.message, self.deletion_deferred
        if not deferred:
            message = message or self.too_large
        return self._progress.overview(self.target, views, message, deletion_deferred=deferred)

    @property
    def wanted_place(self) -> tuple[ActorSpec, int] | None:
        """What its replicas ask of the cluster, and how many are wanted; None when it is to go."""
        if self.spec is None or self.target is None or self.deletion_deferred:
            return None
        return placement_of(self.spec), self.target.replicas

    def want(self, spec: DeploymentSpec | None, scale: int | None = None) -> None:
        """Change what is wanted. A deployment that had failed gets a new try.

        Args:
            scale: How many replicas autoscaling asks for; None for what the spec says.
        """
        before, self.spec = self.target, spec
        for replica in self._replicas.values():
            if spec is not None and replica.spec.version == spec.version:
                replica.spec = spec  # for what the controller needs of it: periods, time limits
        self.deletion_deferred = False
        after = None if spec is None else target_of(spec, scale)
        self._aim(after, automatic=False)
        is_new = (
            after is None
            or before is None
            or (after.version, after.settings) != (before.version, before.settings)
        )
        if is_new:
            for replica in self._replicas.values():
                replica.try_again()
        self._account.forgive(is_new=is_new)

    def defer_deletion(self) -> None:
        """Go on until `want(None)`: the group will be deleted, after those that may call it."""
        self.deletion_deferred = True

    def scale(self, replicas: int) -> None:
        """Change how many are wanted, for autoscaling."""
        if self.target is not None and self.target.replicas != replicas:
            assert self.spec is not None
            self._aim(target_of(self.spec, replicas), automatic=True)
            self._changed(self.deployment)

    def _aim(self, target: Target | None, *, automatic: bool) -> None:
        before, self.target = self.target, target
        self._progress.aim(before, target, automatic=automatic)

    def reconcile(self) -> float | None:
        """Carry out what is due; return in how many seconds to do so again, None for on change."""
        now = self._loop.time()
        pauses = []
        views = self.views
        self._lacking_since = lacking_place(
            self._lacking_since, self.target, views, now=now, freed=self._freed_at
        )
        for action in actions_for(
            self.target,
            views,
            failures=self._account.failed_starts,
            now=now,
            lacking_since=self._lacking_since,
        ):
            if isinstance(action, Start):
                if pause_s := self._account.pause_s(now):
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
            lacking_since=self._lacking_since,
            grace_s=grace_s,
        )
        return min([*pauses, wakeup] if wakeup is not None else pauses, default=None)

    def refresh(self) -> DeploymentStatusOverview:
        """Bring the condition up to date; return the status without details."""
        views = self.views
        failures = self._account.failed_starts
        status = self._progress.refresh(self.target, views, failures=failures)
        if status is DeploymentStatus.HEALTHY:
            self._account.message = ""
        if not any(replica.waits_for for replica in self._replicas.values()):
            self._reminder.reset()
        return self.summary(views)

    def adopt(self, actor: Actor, started: ReplicaInfo) -> None:
        """Take in a replica that runs already, started by a controller that is gone.

        `want` must have been called; a replica of another version is drained like any old one.
        """
        assert self.spec is not None
        settings = Settings(started.max_ongoing, json.dumps(started.user_config), started.options)
        spec = replace(self.spec, version=started.version)
        replica = ManagedReplica(
            started.replica_id,
            spec,
            settings,
            self._cluster,
            self,
            self._patience_s,
            self._gate,
            ReplicaState.RECOVERING,
        )
        self._replicas[replica.replica_id] = replica
        replica.adopt(actor, started)

    def migrate(self, leaving: Mapping[str, float]) -> None:
        """Have replicas replaced that are on nodes about to leave.

        Args:
            leaving: Each node's drain deadline, on the loop's clock.
        """
        for replica in list(self._replicas.values()):
            if replica.entry is not None:
                replica.migrate(leaving.get(replica.entry.node_id))

    def fault(self, error: Exception) -> None:
        """Show an error of ours; the group is reconciled again."""
        self._account.message = (
            f"{self.deployment}: an internal error: {error!r}; see the controller's log."
        )
        self._progress.fault()

    def suspect(self, replica_id: str) -> None:
        """Somebody has had no word of one of them."""
        replica = self._replicas.get(replica_id)
        if replica is not None:
            replica.suspect()

    def kill(self) -> None:
        """End every process at once."""
        for replica in list(self._replicas.values()):
            replica.kill()
        self._replicas.clear()
        self._views = self._entries = None

    # --- Owner --------------------------------------------------------------------------

    def moved(self, replica: ManagedReplica, event: ReplicaEvent) -> None:
        if replica.state is ReplicaState.STOPPED:
            self._replicas.pop(replica.replica_id, None)
            self._freed_at = self._loop.time()
        elif replica.state in SERVING:
            self._note_run(replica)
        self._observed(replica.replica_id, replica.state, event.value)
        self.changed()

    def failed(self, replica: ManagedReplica, failure: Failure) -> None:
        self._account.note(failure)
        if self._is_wanted(replica):
            self._account.charge(
                failure,
                _subject(replica, failure),
                self._loop.time(),
                ran_s=replica.has_run_s,
                blames_wanted=self._blames_wanted(replica, failure),
            )

    def waits(self, replica: ManagedReplica) -> None:
        if not self._reminder.is_due(self._loop.time()):
            return
        waiting = sum(bool(each.waits_for) for each in self._replicas.values())
        log.warning("%s", waiting_line(str(self.deployment), waiting, replica.waits_for))

    def changed(self) -> None:
        self._views = self._entries = None
        self._changed(self.deployment)

    def _blames_wanted(self, replica: ManagedReplica, failure: Failure) -> bool:
        """Whether the wanted settings are at fault, not those that the replica was given before."""
        assert self.target is not None
        if failure.kind == "cluster":
            return False  # the cluster's silence says nothing of the code
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
            self._patience_s,
            self._gate,
        )
        self._replicas[replica_id] = replica
        self._views = None
        self._observed(replica_id, replica.state, "")
        avoid = {each.silent_on for each in self._replicas.values()}
        replica.begin(replica_actor(replica_id, self.spec, self._membership, self._plugins, avoid))

    def _note_run(self, replica: ManagedReplica) -> None:
        wanted = self.target
        if wanted and (replica.spec.version, replica.settings) == (wanted.version, wanted.settings):
            self._account.note_run()

    def _is_wanted(self, replica: ManagedReplica) -> bool:
        return self.spec is not None and replica.spec.version == self.spec.version


def _subject(replica: ManagedReplica, failure: Failure) -> str:
    """Return how the message of a failure names what has failed."""
    return {
        "start": f"{replica.spec.id}",
        "cluster": f"{replica.spec.id}",
        "health": f"replica {replica.replica_id} is not healthy",
        "reconfigure": f"replica {replica.replica_id} refused its user_config",
        "death": f"replica {replica.replica_id} died",
    }[failure.kind]
