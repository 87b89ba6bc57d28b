"""One replica, from the controller's side: its life from the first start to its end.

Lives on the controller's loop. Its owner hears of every change and decides; here is only what must
be done and waited for. `bring_up` starts the replica, `health_monitor` checks its health.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from .._cluster.cluster_protocol import Actor, ActorSpec, Cluster, ClusterUnresponsive
from .._cluster.stubs import stub
from .._model.deployment_spec import DeploymentSpec
from ..actors import ActorDied, ActorUnresponsive, ReplicaEntry, ReplicaInfo, ReplicaProtocol
from ..errors import DeployError, ServeError
from ..status import Failure, ReplicaOverview, ReplicaState
from .bring_up import WAITS_FOR_PROCESS, BringUp
from .failure_history import first_line
from .health_monitor import HealthMonitor
from .lifecycle import SERVING, ReplicaEvent, advance
from .reconcile import ReplicaView, Settings
from .start_gate import StartGate

__all__ = ["WAITS_FOR_PROCESS", "ReplicaOwner", "ManagedReplica"]

log = logging.getLogger("alacarte.controller")


class ReplicaOwner(Protocol):
    """Who has the replica."""

    def moved(self, replica: ManagedReplica, event: ReplicaEvent) -> None:
        """It is in another state now."""

    def waits(self, replica: ManagedReplica) -> None:
        """It still finds no place; asked again and again."""

    def failed(self, replica: ManagedReplica, failure: Failure) -> None:
        """Something went wrong; the state follows, if it changes."""

    def changed(self) -> None:
        """Something else about it changed."""


class ManagedReplica:
    """One replica of a deployment.

    Args:
        replica_id: Unique.
        spec: What it runs, and `settings` what it is given beyond that.
        cluster: Where it runs, as the actor that `actor_spec` asks for.
        owner: Hears of it.
        patience_s: How long its process may take to come up where there is room for it.
        gate: Says when it may start.
        state: STARTING, or RECOVERING for one that a former controller started.

    Attributes:
        entry: Where calls find it; None before it is ready.
    """

    def __init__(
        self,
        replica_id: str,
        spec: DeploymentSpec,
        settings: Settings,
        cluster: Cluster,
        owner: ReplicaOwner,
        patience_s: float,
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
        self._start = BringUp(cluster, gate, patience_s, self.changed, lambda: owner.waits(self))
        self._health = HealthMonitor(self)
        self._refusal = ""
        self._drain_deadline: float | None = None
        self._since = self._loop.time()
        self._since_unix = time.time()
        self._ready_at = 0.0
        self._checks_itself = False
        self._life: asyncio.Task[None] | None = None
        self._updating: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._leaving = asyncio.Event()
        self._view: ReplicaView | None = None

    @property
    def view(self) -> ReplicaView:
        view = self._view
        if view is None:
            start = self._start
            view = self._view = ReplicaView(
                self.replica_id,
                self.spec.version,
                self.state,
                self.settings,
                max(self._since, start.entered_at),
                start.is_placed,
                start.had_room is True,
                self._health.is_good and not self._refusal,
                self._drain_deadline,
                start.is_queued,
            )
        return view

    @property
    def silent_on(self) -> str:
        """The node of a replica that does not answer, "" for one that does."""
        return self.entry.node_id if self._health.is_silent and self.entry is not None else ""

    @property
    def waits_for(self) -> Mapping[str, tuple[float, float]]:
        """The resources it lacks while it waits for a place, {} where it lacks none."""
        return self._start.missing if self.state is ReplicaState.STARTING else {}

    @property
    def in_doubt(self) -> bool:
        """Requests should go to others meanwhile."""
        return self._health.in_doubt

    @property
    def is_serving(self) -> bool:
        """Whether it takes requests."""
        return self.state in SERVING

    @property
    def has_run_s(self) -> float:
        """Seconds since it became ready, 0 before."""
        return self._loop.time() - self._ready_at if self._ready_at else 0.0

    @property
    def overview(self) -> ReplicaOverview:
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
        if self._health.is_silent:
            return self._health.message
        return self._refusal or self._health.message

    # --- told by its owner --------------------------------------------------------------

    def begin(self, actor_spec: ActorSpec) -> None:
        """Bring it up."""
        self._life = self._loop.create_task(self._live(actor_spec))

    def adopt(self, actor: Actor, info: ReplicaInfo) -> None:
        """Take in one that runs already, or has been told to stop."""
        self._start.adopt(actor)
        self._learn(info)
        if info.leaving:
            self._leaving.set()
            self._move(ReplicaEvent.DRAIN)
        else:
            self._move(ReplicaEvent.READY)
        self._life = self._loop.create_task(self._follow())

    def drain(self) -> None:
        """Let it finish what it has, then end it."""
        is_up = self.state in SERVING or self.state is ReplicaState.RECOVERING
        self._move(ReplicaEvent.DRAIN)
        self._leaving.set()
        if not is_up and self._life is not None:
            self._life.cancel()

    def kill(self) -> None:
        """End it at once, and hear no more of it."""
        for task in (self._life, self._updating):
            if task is not None:
                task.cancel()
        self._health.close()
        if self._start.actor is not None:
            self._start.actor.kill()

    def reconfigure(self, settings: Settings) -> None:
        """Give it new settings; one that refuses them is unfit."""
        self._move(ReplicaEvent.UPDATE)
        self._updating = self._loop.create_task(self._hand_over(settings))

    def try_again(self) -> None:
        """Other settings are wanted now: that it refused the last ones is over."""
        if self._refusal:
            self._refusal = ""
            self.changed()

    def migrate(self, drain_deadline: float | None) -> None:
        """Take in its node's drain deadline, on the loop's clock; None where the node stays."""
        if drain_deadline == self._drain_deadline:
            return
        self._drain_deadline = drain_deadline
        self.changed()
        if drain_deadline is not None and self.state is ReplicaState.RUNNING:
            self._move(ReplicaEvent.MIGRATE)
        elif drain_deadline is None and self.state is ReplicaState.PENDING_MIGRATION:
            self._move(ReplicaEvent.STAY)

    def suspect(self) -> None:
        """Somebody has had no word of it: find out whether its process is alive."""
        if self.is_serving:
            self._health.probe(self._process)

    # --- its life -----------------------------------------------------------------------

    async def _live(self, actor_spec: ActorSpec) -> None:
        """Bring it up, wait for its end, and clean up."""
        try:
            info = await self._start.run(actor_spec, self.spec.config.start_timeout_s)
        except (Exception, asyncio.CancelledError) as error:
            # The user's constructor may raise anything; so may a process that does not come up.
            if isinstance(error, asyncio.CancelledError):
                if not self._leaving.is_set():
                    raise
            elif self.state is ReplicaState.STARTING:
                self.fail("cluster" if isinstance(error, ClusterUnresponsive) else "start", error)
            self._end(ReplicaEvent.FAILED)
            return
        self._learn(info)
        self._move(ReplicaEvent.READY)
        await self._follow()

    @property
    def _actor(self) -> Actor:
        """Its process, once that is up."""
        assert self._start.actor is not None
        return self._start.actor

    @property
    def _process(self) -> ReplicaProtocol:
        return stub(ReplicaProtocol, self._actor)

    def _learn(self, info: ReplicaInfo) -> None:
        self.entry = ReplicaEntry(info.replica_id, info.address, info.node_id, info.max_ongoing)
        self.pid = info.pid
        self._ready_at = self._loop.time()
        self._checks_itself = info.checks_itself
        self.changed()

    async def _follow(self) -> None:
        """Follow one that is up, to its end."""
        monitoring = self._health.monitor(self._process, checks_itself=self._checks_itself)
        closed = self._loop.create_task(self._actor.wait_closed())
        leaving = self._loop.create_task(self._leaving.wait())
        checks = self._loop.create_task(monitoring)
        try:
            await asyncio.wait((closed, leaving), return_when=asyncio.FIRST_COMPLETED)
            if closed.done():
                self.fail("death", ActorDied(closed.result()))
                self._end(ReplicaEvent.DIED)
            else:
                checks.cancel()
                await self._let_go(closed)
        finally:
            for task in (closed, leaving, checks):
                task.cancel()

    async def _let_go(self, closed: asyncio.Task[str]) -> None:
        """Wait for its last request, no longer than allowed; run its destructor; end it."""
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
        if self._health.is_silent and self.entry is not None:
            self._ending = self._loop.create_task(self._end_process(self.entry.node_id))
        self._move(event)

    async def _end_process(self, node_id: str) -> None:
        """A process that is stopped does not hear that it is killed, and would go on some day."""
        with contextlib.suppress(Exception):  # with its node, perhaps
            await self._cluster.end_process(node_id, self.pid)

    async def _hand_over(self, settings: Settings) -> None:
        assert self.entry is not None
        try:
            user_config: Any = json.loads(settings.user_config)
            async with asyncio.timeout(self.spec.config.start_timeout_s):
                await self._process.reconfigure(settings.max_ongoing, user_config, settings.options)
        except ActorDied:
            pass  # `wait_closed` reports the end
        except Exception as error:  # the user's reconfigure
            if self.state is ReplicaState.UPDATING:
                # Which of them it has taken over nobody knows.
                self.settings = replace(settings, user_config="")
                if isinstance(error, TimeoutError):
                    error = DeployError("reconfigure has not returned within start_timeout_s.")
                self._refusal = f"it refused its new settings: {first_line(str(error))}"
                self.changed()
                self.fail("reconfigure", error)
        else:
            self.settings = settings
            self.entry = replace(self.entry, max_ongoing=settings.max_ongoing)
        if self.state is not ReplicaState.STOPPED:
            self._move(ReplicaEvent.UPDATED)
            if self._drain_deadline is not None and self.state is ReplicaState.RUNNING:
                self._move(ReplicaEvent.MIGRATE)

    # ------------------------------------------------------------------------------------

    def fail(self, kind: str, error: BaseException) -> None:
        """Report a failure to the owner."""
        reason, _, rest = _describe_failure(error).partition("\n")
        self._owner.failed(self, Failure(time.time(), self.replica_id, kind, reason, rest))

    def changed(self) -> None:
        """Tell the owner that something about it is different now."""
        self._view = None
        self._owner.changed()

    def _move(self, event: ReplicaEvent) -> None:
        self.state = advance(self.state, event)
        self._since = self._loop.time()
        self._since_unix = time.time()
        self._view = None
        self._owner.moved(self, event)


def _describe_failure(error: BaseException) -> str:
    """Return what went wrong: the user's frame and the reason first."""
    if isinstance(error, ActorDied | ServeError):
        return str(error)
    return f"{type(error).__name__}: {error}"
