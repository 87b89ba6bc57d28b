"""The replicas of one deployment: what is wanted of them, what is seen, and what became of it.

The thin side of `reconcile`: it carries out actions and keeps account of failures. Lives on the
controller's loop; every change ends in `changed`, after which the controller looks again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from .._cluster.actor_names import replica_prefix
from .._cluster.protocol import Actor, ActorSpec, Cluster
from .._model.specs import DeploymentSpec
from .._plugins import PluginRecord
from .._replica.spec import ReplicaSpec
from ..actors import Membership, ReplicaEntry, ReplicaInfo
from ..status import (
    DeploymentStatus,
    DeploymentStatusOverview,
    DeploymentStatusTrigger,
    Failure,
    ReplicaState,
)
from ..types import DeploymentId
from .desired import target_of
from .health import resting
from .lifecycle import SERVING, ReplicaEvent
from .reconcile import (
    Drain,
    Reconfigure,
    ReplicaView,
    Settings,
    Start,
    Target,
    lacking_place,
    next_look,
)
from .reconcile import reconcile as actions_for
from .replica import WAITS_FOR_PROCESS, Replica, first_line
from .shortage import Reminder, waiting_line
from .start_gate import StartGate
from .summary import Change, Condition, change_between, condition_of, overview_of, waiting_for

__all__ = ["ReplicaGroup", "placement_of"]

log = logging.getLogger("alacarte.controller")
REPLICA_TARGET = "alacarte._replica.actor:ReplicaActor"
_YOUNG_S = 5.0
_IN_A_ROW_S = 30.0
_FAILURE_PAUSE_S = (0.0, 0.0, 0.0, 0.2, 1.0, 5.0)
_JITTER = 0.25
_KEPT_FAILURES = 10
_REMINDER_S = (4.0, 30.0, 3600.0)
"""Lines about a deployment that waits: the first at the look after 5 s, the next 30 s later."""


class ReplicaGroup:
    """All replicas of one deployment.

    Args:
        deployment: Which one.
        cluster: Where they run.
        membership: What each process is handed.
        plugins: What every process must load.
        gate: Says when replicas may start.
        changed: Called after each change.
        observed: Told of every replica's new state.

    Attributes:
        spec: What is wanted; None when the deployment is to go.
        target: The same, as far as reconciling goes.
        failures: Failed starts of what is wanted, as long as no replica of it has run.
        message: The last failure.
        condition: The deployment's status.
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
        self.failures = 0
        self.message = ""
        self.condition = Condition()
        self.deletion_deferred = False
        self.too_large = ""
        self._cluster = cluster
        self._membership = membership
        self._plugins = plugins
        self._gate = gate
        self._changed = changed
        self._observed = observed
        self._replicas: dict[str, Replica] = {}
        self._change = Change.CONFIG
        self._recent: deque[Failure] = deque(maxlen=_KEPT_FAILURES)
        self._has_run = False
        self._failed_in_turn = 0
        self._resume_at = 0.0
        self._freed_at = 0.0
        self._lacking_since: float | None = None
        self._reminder = Reminder(*_REMINDER_S)
        self._loop = asyncio.get_running_loop()
        self._patience_s: float = membership.config["cluster"]["actor_start_timeout_s"]
        self._views: list[ReplicaView] | None = None
        self._entries: tuple[ReplicaEntry, ...] | None = None

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
        pause_s = max(self._resume_at - self._loop.time(), 0.0)
        waits = waiting_for(self.target, views, failures=self.failures, pause_s=pause_s)
        if self.deletion_deferred:
            waits = ["those that may call it to end first"]
        replicas = tuple(replica.overview for replica in self._replicas.values())
        starting = {each.message for each in replicas if each.state is ReplicaState.STARTING}
        waits += sorted(text.removeprefix("waits for ") for text in starting - {WAITS_FOR_PROCESS})
        return replace(
            self.summary(views),
            waiting_for="; ".join(waits),
            replicas=replicas,
            recent_failures=tuple(self._recent),
        )

    def summary(self, views: Sequence[ReplicaView]) -> DeploymentStatusOverview:
        """Return its status without details."""
        if self.deletion_deferred:
            condition = replace(
                self.condition,
                status=DeploymentStatus.UPDATING,
                trigger=DeploymentStatusTrigger.DELETING,
            )
            return overview_of(condition, self.target, views, self.message)
        return overview_of(self.condition, self.target, views, self.message or self.too_large)

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
        if (
            after is None
            or before is None
            or (after.version, after.settings) != (before.version, before.settings)
        ):
            self._has_run = False
            for replica in self._replicas.values():
                replica.try_again()
        self.failures = 0
        self.message = ""
        self._failed_in_turn = 0
        self._resume_at = 0.0

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
        if target is not None and target != before:
            # Whoever waits for an update still does when autoscaling changes the number.
            if self.condition.reached or not automatic:
                self._change = change_between(before, target, automatic=automatic)
            self.condition = replace(self.condition, reached=False)

    def reconcile(self) -> float | None:
        """Do what is to be done; return in how many seconds to look again, None for on change."""
        now = self._loop.time()
        pauses = []
        views = self.views
        self._lacking_since = lacking_place(
            self._lacking_since, self.target, views, now=now, freed=self._freed_at
        )
        for action in actions_for(
            self.target,
            views,
            failures=self.failures,
            now=now,
            lacking_since=self._lacking_since,
        ):
            if isinstance(action, Start):
                if now < self._resume_at:
                    pauses.append(self._resume_at - now)
                    continue
                for _ in range(action.count):
                    self._start()
            elif isinstance(action, Drain):
                self._replicas[action.replica_id].drain()
            elif isinstance(action, Reconfigure):
                assert self.target is not None
                self._replicas[action.replica_id].reconfigure(self.target.settings)
        grace_s = self.target.grace_s if self.target else 0.0
        look = next_look(
            self.views,
            now=now,
            freed=self._freed_at,
            lacking_since=self._lacking_since,
            grace_s=grace_s,
        )
        return min([*pauses, look] if look is not None else pauses, default=None)

    def refresh(self) -> DeploymentStatusOverview:
        """Bring the condition up to date; return the status without details."""
        views = self.views
        self.condition = condition_of(
            self.condition,
            self._change,
            self.target,
            views,
            failures=self.failures,
            now=time.time(),
        )
        if self.condition.status is DeploymentStatus.HEALTHY:
            self.message = ""
        if not any(replica.waits_for for replica in self._replicas.values()):
            self._reminder.reset()
        return self.summary(views)

    def adopt(self, actor: Actor, started: ReplicaInfo) -> None:
        """Take in a replica that runs already, started by a controller that is gone.

        `want` must have been called; a replica of another version is drained like any old one.
        """
        assert self.spec is not None
        settings = Settings(started.max_ongoing, json.dumps(started.user_config))
        spec = replace(self.spec, version=started.version)
        replica = Replica(
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
        """Something of ours has failed, and is tried again."""
        self.message = f"{self.deployment}: an internal error: {error!r}; see the controller's log."
        now = time.time()
        unhealthy, internal = DeploymentStatus.UNHEALTHY, DeploymentStatusTrigger.INTERNAL_ERROR
        self.condition = Condition(unhealthy, internal, now, self.condition.reached)

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

    def moved(self, replica: Replica, event: ReplicaEvent) -> None:
        if replica.state is ReplicaState.STOPPED:
            self._replicas.pop(replica.replica_id, None)
            self._freed_at = self._loop.time()
        elif replica.state in SERVING:
            self._note_that_it_runs(replica)
        self._observed(replica.replica_id, replica.state, event.value)
        self.changed()

    def failed(self, replica: Replica, failure: Failure) -> None:
        self._recent.append(failure)
        if not self._is_wanted(replica):
            return
        if failure.kind != "death" or 0 < replica.has_run_s < _YOUNG_S:
            self._pause()  # or one that dies at once would be started without end
            # Of what is wanted now, not of what a replica was given before. And what has run
            # before is tried for ever: its code is not what is broken.
            if not self._has_run and self._tells_of_wanted(replica, failure):
                self.failures += 1
        self.message = _told(replica, failure)
        self._log_failure(failure)

    def waits(self, replica: Replica) -> None:
        if not self._reminder.is_due(self._loop.time()):
            return
        waiting = sum(bool(each.waits_for) for each in self._replicas.values())
        log.warning("%s", waiting_line(str(self.deployment), waiting, replica.waits_for))

    def changed(self) -> None:
        self._views = self._entries = None
        self._changed(self.deployment)

    def _tells_of_wanted(self, replica: Replica, failure: Failure) -> bool:
        assert self.target is not None
        if failure.kind == "cluster":
            return False  # the cluster's silence says nothing of the code
        return failure.kind in ("start", "reconfigure") or replica.settings == self.target.settings

    # ------------------------------------------------------------------------------------

    def _start(self) -> None:
        assert self.spec is not None
        assert self.target is not None
        replica_id = f"{self.deployment}#{secrets.token_hex(4)}"
        replica = Replica(
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
        replica.begin(self._actor_spec(replica))

    def _actor_spec(self, replica: Replica) -> ActorSpec:
        spec, config = replica.spec, replica.spec.config
        inside = ReplicaSpec(
            deployment=spec.id,
            replica_id=replica.replica_id,
            version=spec.version,
            code=spec.code,
            init=spec.init,
            is_function=spec.is_function,
            max_ongoing=config.max_ongoing_requests,
            user_config=config.user_config,
        )
        return replace(
            placement_of(spec),
            name=f"{replica_prefix(self._membership.instance)}{replica.replica_id}",
            args=(inside, self._membership),
            plugins=self._plugins,
            import_paths=spec.import_paths,
            avoid=tuple(sorted({each.silent_on for each in self._replicas.values()} - {""})),
        )

    def _note_that_it_runs(self, replica: Replica) -> None:
        wanted = self.target
        if wanted and (replica.spec.version, replica.settings) == (wanted.version, wanted.settings):
            self._has_run = True
            self.failures = 0

    def _pause(self) -> None:
        """Start the next replica after a pause that grows with failures in a row."""
        now = self._loop.time()
        if now - self._resume_at > _IN_A_ROW_S:
            self._failed_in_turn = 0
        self._failed_in_turn += 1
        pause = _FAILURE_PAUSE_S[min(self._failed_in_turn - 1, len(_FAILURE_PAUSE_S) - 1)]
        # Apart from others that failed for the same reason at the same moment.
        self._resume_at = now + pause * random.uniform(1 - _JITTER, 1 + _JITTER)

    def _log_failure(self, failure: Failure) -> None:
        """Log a failure, unless whoever deploys is about to be told."""
        if self._has_run or failure.kind == "death":
            # The whole traceback once: the next tries will most likely repeat it.
            first = self._failed_in_turn <= 1
            log.warning("%s", self.message if first else first_line(self.message))
        else:
            log.debug("%s", self.message)

    def _is_wanted(self, replica: Replica) -> bool:
        return self.spec is not None and replica.spec.version == self.spec.version


def placement_of(spec: DeploymentSpec) -> ActorSpec:
    """Return what decides where replicas of a deployment may run, as an actor without contents."""
    config = spec.config
    options = config.ray_actor_options.model_dump(exclude_none=True)
    return ActorSpec(
        name="",
        target=REPLICA_TARGET,
        options={name: value for name, value in options.items() if value != {}},
        group=str(spec.id),
        max_per_node=config.max_replicas_per_node or 0,
        spread=config.placement == "spread",
        bundles=tuple(config.placement_group_bundles or ()),
        bundle_strategy=config.placement_group_strategy or "PACK",
        bundle_labels=config.bundle_labels,
    )


def _told(replica: Replica, failure: Failure) -> str:
    about = {
        "start": f"{replica.spec.id}",
        "cluster": f"{replica.spec.id}",
        "health": f"replica {replica.replica_id} is not healthy",
        "reconfigure": f"replica {replica.replica_id} refused its user_config",
        "death": f"replica {replica.replica_id} died",
    }[failure.kind]
    rest = f"\n{failure.traceback}" if failure.traceback else ""
    return f"{about}: {failure.message}{rest}"
