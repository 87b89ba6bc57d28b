"""The controller's side of one replica, from its start to its end.

Lives on the controller's loop. This module carries out and waits; the owner is notified of every
change and makes the decisions. `replica_start` starts the replica, `health_monitor` checks its
health.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from .._cluster.cluster_protocol import Actor, ActorSpec, Cluster, ClusterUnresponsive
from .._cluster.stubs import stub
from .._model.deployment_spec import DeploymentSpec
from ..actors import ActorDied, ActorUnresponsive, ReplicaEntry, ReplicaInfo, ReplicaProtocol
from ..errors import DeployError, ServeError
from ..status import Failure, ReplicaOverview, ReplicaState
from .failure_history import first_line
from .health_monitor import HealthMonitor
from .lifecycle import SERVING, ReplicaEvent, advance
from .reconcile import ReplicaView, Settings
from .replica_start import WAITS_FOR_PROCESS, ReplicaStart
from .start_gate import StartGate

__all__ = ["WAITS_FOR_PROCESS", "ReplicaOwner", "ManagedReplica"]

log = logging.getLogger("alacarte.controller")


class ReplicaOwner(Protocol):
    """The owner of a replica, notified of its changes."""

    def state_changed(self, replica: ManagedReplica, event: ReplicaEvent) -> None:
        """Handle a transition; `replica.state` is the new state."""

    def resources_missing(self, replica: ManagedReplica) -> None:
        """Handle a poll that found resources missing for a starting replica."""

    def failed(self, replica: ManagedReplica, failure: Failure) -> None:
        """Handle a failure. A transition that it causes follows."""

    def changed(self) -> None:
        """Handle any other change of the replica."""


class ManagedReplica:
    """A replica of a deployment, managed by the controller.

    Args:
        replica_id: Unique id.
        spec: The deployment that the replica runs.
        settings: The settings that the replica starts with.
        cluster: Runs the replica's actor.
        owner: Notified of changes.
        placement_timeout_s: Time for the process to come up while its resources are free.
        gate: Limits concurrent starts.
        state: STARTING, or RECOVERING for a replica of a former controller.

    Attributes:
        entry: The replica's entry in snapshots; None before it is ready.
    """

    def __init__(
        self,
        replica_id: str,
        spec: DeploymentSpec,
        settings: Settings,
        cluster: Cluster,
        owner: ReplicaOwner,
        placement_timeout_s: float,
        gate: StartGate,
        state: ReplicaState = ReplicaState.STARTING,
    ) -> None:
        self.replica_id = replica_id
        self.spec = spec
        self.settings = settings
        self.state = state
        self.entry: ReplicaEntry | None = None
        self.pid = 0
        self._loop = asyncio.get_running_loop()
        self._cluster = cluster
        self._owner = owner
        self._start = ReplicaStart(
            cluster,
            gate,
            placement_timeout_s,
            self.changed,
            lambda: owner.resources_missing(self),
        )
        self._health = HealthMonitor(self)
        self._settings_error = ""
        self._drain_deadline: float | None = None
        self._since = self._loop.time()
        self._since_unix = time.time()
        self._ready_at = 0.0
        self._has_health_check = False
        self._task: asyncio.Task[None] | None = None
        self._updating: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._drain_requested = asyncio.Event()
        self._view: ReplicaView | None = None

    @property
    def view(self) -> ReplicaView:
        """The facts about the replica that `reconcile` decides by."""
        view = self._view
        if view is None:
            start = self._start
            view = self._view = ReplicaView(
                self.replica_id,
                self.spec.version,
                self.state,
                self.settings,
                max(self._since, start.admitted_at),
                start.is_placed,
                start.had_resources is True,
                self._health.is_healthy and not self._settings_error,
                self._drain_deadline,
                start.is_queued,
            )
        return view

    @property
    def unresponsive_node_id(self) -> str:
        """The node of an unresponsive replica, "" for one that answers."""
        return self.entry.node_id if self._health.is_unresponsive and self.entry is not None else ""

    @property
    def missing(self) -> Mapping[str, tuple[float, float]]:
        """The missing resources of a starting replica as (needed, free), {} for none."""
        return self._start.missing if self.state is ReplicaState.STARTING else {}

    @property
    def is_degraded(self) -> bool:
        """Whether requests should go to other replicas."""
        return self._health.is_degraded

    @property
    def is_serving(self) -> bool:
        """Whether the replica accepts requests."""
        return self.state in SERVING

    @property
    def uptime_s(self) -> float:
        """Seconds since the replica became ready, 0 before."""
        return self._loop.time() - self._ready_at if self._ready_at else 0.0

    @property
    def overview(self) -> ReplicaOverview:
        """The replica's part of the status."""
        return ReplicaOverview(
            self.replica_id,
            self.state,
            self._since_unix,
            self.spec.version,
            self.entry.node_id if self.entry else "",
            self.pid,
            self._message(),
        )

    def _message(self) -> str:
        if self.state is ReplicaState.STARTING:
            return self._start.message
        if self._health.is_unresponsive:
            return self._health.message
        return self._settings_error or self._health.message

    # --- called by the owner ------------------------------------------------------------

    def start(self, actor_spec: ActorSpec) -> None:
        """Start the replica."""
        self._task = self._loop.create_task(self._run(actor_spec))

    def adopt(self, actor: Actor, info: ReplicaInfo) -> None:
        """Take over a replica that already runs or drains."""
        self._start.adopt(actor)
        self._set_info(info)
        if info.draining:
            self._drain_requested.set()
            self._advance(ReplicaEvent.DRAIN)
        else:
            self._advance(ReplicaEvent.READY)
        self._task = self._loop.create_task(self._follow())

    def drain(self) -> None:
        """Let the replica finish its requests, then end it."""
        is_up = self.state in SERVING or self.state is ReplicaState.RECOVERING
        self._advance(ReplicaEvent.DRAIN)
        self._drain_requested.set()
        if not is_up and self._task is not None:
            self._task.cancel()

    def kill(self) -> None:
        """Kill the replica at once, without further notifications."""
        for task in (self._task, self._updating):
            if task is not None:
                task.cancel()
        self._health.close()
        if self._start.actor is not None:
            self._start.actor.kill()

    def reconfigure(self, settings: Settings) -> None:
        """Apply new settings; a replica that fails to is unhealthy."""
        self._advance(ReplicaEvent.UPDATE)
        self._updating = self._loop.create_task(self._reconfigure(settings))

    def clear_settings_error(self) -> None:
        """Clear the error of earlier settings: the target's settings have changed."""
        if self._settings_error:
            self._settings_error = ""
            self.changed()

    def migrate(self, drain_deadline: float | None) -> None:
        """Set the drain deadline of the node, on the loop's clock; None if the node stays."""
        if drain_deadline == self._drain_deadline:
            return
        self._drain_deadline = drain_deadline
        self.changed()
        if drain_deadline is not None and self.state is ReplicaState.RUNNING:
            self._advance(ReplicaEvent.MIGRATE)
        elif drain_deadline is None and self.state is ReplicaState.PENDING_MIGRATION:
            self._advance(ReplicaEvent.STAY)

    def suspect(self) -> None:
        """Probe the process: a caller reports that the replica does not answer."""
        if self.is_serving:
            self._health.probe(self._process)

    # --- its life -----------------------------------------------------------------------

    async def _run(self, actor_spec: ActorSpec) -> None:
        """Start the replica, wait for its end, and clean up."""
        try:
            info = await self._start.run(actor_spec, self.spec.config.start_timeout_s)
        except (Exception, asyncio.CancelledError) as error:
            # Any exception: of the user's constructor, or of a process that does not come up.
            if isinstance(error, asyncio.CancelledError):
                if not self._drain_requested.is_set():
                    raise
            elif self.state is ReplicaState.STARTING:
                self.fail("cluster" if isinstance(error, ClusterUnresponsive) else "start", error)
            self._end(ReplicaEvent.FAILED)
            return
        self._set_info(info)
        self._advance(ReplicaEvent.READY)
        await self._follow()

    @property
    def _actor(self) -> Actor:
        """The replica's process, once it is up."""
        assert self._start.actor is not None
        return self._start.actor

    @property
    def _process(self) -> ReplicaProtocol:
        return stub(ReplicaProtocol, self._actor)

    def _set_info(self, info: ReplicaInfo) -> None:
        self.entry = ReplicaEntry(info.replica_id, info.address, info.node_id, info.max_ongoing)
        self.pid = info.pid
        self._ready_at = self._loop.time()
        self._has_health_check = info.has_health_check
        self.changed()

    async def _follow(self) -> None:
        """Monitor a ready replica until its end."""
        monitoring = self._health.monitor(self._process, has_health_check=self._has_health_check)
        closed = self._loop.create_task(self._actor.wait_closed())
        draining = self._loop.create_task(self._drain_requested.wait())
        checks = self._loop.create_task(monitoring)
        try:
            await asyncio.wait((closed, draining), return_when=asyncio.FIRST_COMPLETED)
            if closed.done():
                self.fail("death", ActorDied(closed.result()))
                self._end(ReplicaEvent.DIED)
            else:
                checks.cancel()
                await self._stop_process(closed)
        finally:
            for task in (closed, draining, checks):
                task.cancel()

    async def _stop_process(self, closed: asyncio.Task[str]) -> None:
        """Let the process finish its requests and run the destructor, then end it."""
        limit_s = self.spec.config.graceful_shutdown_timeout_s
        stopping = asyncio.ensure_future(self._process.stop(limit_s))
        await asyncio.wait((stopping, closed), return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done():
            stopping.cancel()
        elif not isinstance(error := stopping.exception(), ActorDied | ActorUnresponsive | None):
            # the user's destructor
            log.warning("replica %s did not stop cleanly: %r", self.replica_id, error)
        self._end(ReplicaEvent.IDLE)

    def _end(self, event: ReplicaEvent) -> None:
        if self._start.actor is not None:
            self._start.actor.kill()
        self._health.close()
        if self._health.is_unresponsive and self.entry is not None:
            self._ending = self._loop.create_task(self._end_process(self.entry.node_id))
        self._advance(event)

    async def _end_process(self, node_id: str) -> None:
        """End an unresponsive process through its node.

        A stopped process (SIGSTOP) does not receive its actor's kill, and might continue later.
        """
        with contextlib.suppress(Exception):  # the node may be gone, too
            await self._cluster.end_process(node_id, self.pid)

    async def _reconfigure(self, settings: Settings) -> None:
        assert self.entry is not None
        try:
            user_config: object = json.loads(settings.user_config)
            async with asyncio.timeout(self.spec.config.start_timeout_s):
                await self._process.reconfigure(settings.max_ongoing, user_config, settings.options)
        except ActorDied:
            pass  # `_follow` handles the end of the process
        except Exception as error:  # the user's reconfigure
            if self.state is ReplicaState.UPDATING:
                # Unknown which of the settings the replica has applied.
                self.settings = replace(settings, user_config="")
                if isinstance(error, TimeoutError):
                    error = DeployError(
                        "reconfigure has not returned within "
                        f"start_timeout_s={self.spec.config.start_timeout_s:g} s."
                    )
                self._settings_error = f"reconfigure failed: {first_line(str(error))}"
                self.changed()
                self.fail("reconfigure", error)
        else:
            self.settings = settings
            self.entry = replace(self.entry, max_ongoing=settings.max_ongoing)
        if self.state is not ReplicaState.STOPPED:
            self._advance(ReplicaEvent.UPDATED)
            if self._drain_deadline is not None and self.state is ReplicaState.RUNNING:
                self._advance(ReplicaEvent.MIGRATE)

    # ------------------------------------------------------------------------------------

    def fail(self, kind: str, error: BaseException) -> None:
        """Report a failure of the replica to the owner."""
        reason, _, rest = _describe_failure(error).partition("\n")
        self._owner.failed(self, Failure(time.time(), self.replica_id, kind, reason, rest))

    def changed(self) -> None:
        """Notify the owner of a change other than a transition."""
        self._view = None
        self._owner.changed()

    def _advance(self, event: ReplicaEvent) -> None:
        self.state = advance(self.state, event)
        self._since = self._loop.time()
        self._since_unix = time.time()
        self._view = None
        self._owner.state_changed(self, event)


def _describe_failure(error: BaseException) -> str:
    """Return an error's message, with the user's frame and the reason first."""
    if isinstance(error, ActorDied | ServeError):
        return str(error)
    return f"{type(error).__name__}: {error}"
