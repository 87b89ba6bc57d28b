"""The replicas of one deployment, as processes: start them, watch them, let them go.

The thin side of `reconcile`: it carries out actions and reports what became of them. Lives on the
controller's loop; every change ends in `changed`, after which the controller looks again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

from .._cluster.protocol import Actor, ActorDied, ActorSpec, Cluster
from .._model.snapshots import ReplicaEntry
from .._model.specs import DeploymentSpec
from .._plugins import PluginRecord
from .._replica.spec import ReplicaSpec, Started
from ..errors import ServeError
from ..status import ReplicaState
from ..types import DeploymentId
from .desired import State, target_of
from .lifecycle import ReplicaEvent, advance
from .reconcile import Drain, Reconfigure, ReplicaView, Settings, Start, next_look, reconcile

__all__ = ["ReplicaGroup", "instance_prefix", "replica_prefix"]

log = logging.getLogger("alacarte.controller")
REPLICA_TARGET = "alacarte._replica.actor:ReplicaActor"
_STOP_S = 5.0
_SLOW_S = 10.0
_YOUNG_S = 5.0
_IN_A_ROW_S = 30.0
_FAILURE_PAUSE_S = (0.0, 0.0, 0.0, 0.2, 1.0, 5.0)


@dataclass(eq=False)
class _Replica:
    """One replica's process, from the controller's side."""

    replica_id: str
    spec: DeploymentSpec
    settings: Settings
    state: ReplicaState = ReplicaState.STARTING
    since: float = field(default_factory=monotonic)
    placed: bool = False
    had_room: bool = True
    actor: Actor | None = None
    entry: ReplicaEntry | None = None
    life: asyncio.Task[None] | None = None
    leaving: asyncio.Event = field(default_factory=asyncio.Event)
    reconfiguring: bool = False

    @property
    def view(self) -> ReplicaView:
        return ReplicaView(
            self.replica_id,
            self.spec.version,
            self.state,
            self.settings,
            self.since,
            self.placed,
            self.had_room,
        )


class ReplicaGroup:
    """All replicas of one deployment.

    Args:
        deployment: Which one.
        cluster: Where they run.
        state: Of the instance: secret and configuration.
        plugins: What every process must load.
        changed: Called after each change.
        observed: Told of every replica's new state.

    Attributes:
        spec: What is wanted; None when the deployment is to go.
        failures: Failed starts of what is wanted, as long as no replica of it has run.
        message: The last failure.
        was_healthy: What is wanted has been reached once.
    """

    def __init__(
        self,
        deployment: DeploymentId,
        cluster: Cluster,
        state: State,
        plugins: tuple[PluginRecord, ...],
        changed: Callable[[], None],
        observed: Callable[[str, ReplicaState, str], None],
    ) -> None:
        self.deployment = deployment
        self.spec: DeploymentSpec | None = None
        self.failures = 0
        self.message = ""
        self.was_healthy = False
        self._cluster = cluster
        self._state = state
        self._plugins = plugins
        self._changed = changed
        self._observed = observed
        self._replicas: dict[str, _Replica] = {}
        self._has_run = False
        self._failed_in_turn = 0
        self._resume_at = 0.0
        self._freed_at = 0.0

    @property
    def views(self) -> list[ReplicaView]:
        return [replica.view for replica in self._replicas.values()]

    @property
    def entries(self) -> tuple[ReplicaEntry, ...]:
        """Replicas that calls may go to."""
        return tuple(
            replica.entry
            for replica in self._replicas.values()
            if replica.state is ReplicaState.RUNNING and replica.entry is not None
        )

    @property
    def gone(self) -> bool:
        return self.spec is None and not self._replicas

    def want(self, spec: DeploymentSpec | None) -> None:
        """Change what is wanted. A deployment that had failed gets a new try."""
        before = None if self.spec is None else target_of(self.spec)
        after = None if spec is None else target_of(spec)
        if after != before:
            self.was_healthy = False
        if (
            after is None
            or before is None
            or (after.version, after.settings) != (before.version, before.settings)
        ):
            self._has_run = False
        self.failures = 0
        self.message = ""
        self._failed_in_turn = 0
        self._resume_at = 0.0
        self.spec = spec

    def reconcile(self) -> float | None:
        """Do what is to be done; return in how many seconds to look again, None for on change."""
        now = monotonic()
        target = None if self.spec is None else target_of(self.spec)
        pauses = []
        for action in reconcile(
            target, self.views, failures=self.failures, now=now, freed=self._freed_at
        ):
            if isinstance(action, Start):
                if now < self._resume_at:
                    pauses.append(self._resume_at - now)
                    continue
                for _ in range(action.count):
                    self._start()
            elif isinstance(action, Drain):
                self._drain(self._replicas[action.replica_id])
            elif isinstance(action, Reconfigure):
                self._reconfigure(self._replicas[action.replica_id])
        look = next_look(self.views, now=now, freed=self._freed_at)
        return min([*pauses, look] if look is not None else pauses, default=None)

    def adopt(self, actor: Actor, started: Started) -> None:
        """Take in a replica that runs already, started by a controller that is gone.

        `want` must have been called; a replica of another version is drained like any old one.
        """
        assert self.spec is not None
        settings = Settings(started.max_ongoing, json.dumps(started.user_config))
        spec = replace(self.spec, version=started.version)
        replica = _Replica(started.replica_id, spec, settings, placed=True, actor=actor)
        replica.entry = _entry(started)
        self._replicas[replica.replica_id] = replica
        replica.life = asyncio.get_running_loop().create_task(self._follow(replica))

    def kill(self) -> None:
        """End every process at once."""
        for replica in list(self._replicas.values()):
            if replica.life is not None:
                replica.life.cancel()
            if replica.actor is not None:
                replica.actor.kill()
        self._replicas.clear()

    # --- one replica's life -------------------------------------------------------------

    def _start(self) -> None:
        assert self.spec is not None
        replica_id = f"{self.deployment}#{secrets.token_hex(4)}"
        replica = _Replica(replica_id, self.spec, target_of(self.spec).settings)
        self._replicas[replica_id] = replica
        self._observed(replica_id, replica.state, "")
        replica.life = asyncio.get_running_loop().create_task(self._live(replica))

    async def _live(self, replica: _Replica) -> None:
        """Bring a replica up, wait for its end, and clean up."""
        try:
            await self._bring_up(replica)
        except (Exception, asyncio.CancelledError) as error:
            # The user's constructor may raise anything; so may a process that does not come up.
            if isinstance(error, asyncio.CancelledError) and not replica.leaving.is_set():
                raise
            self._failed(replica, error)
            return
        await self._follow(replica)

    async def _follow(self, replica: _Replica) -> None:
        """Follow a replica that is up, to its end."""
        assert replica.actor is not None
        self._note_that_it_runs(replica)
        self._move(replica, ReplicaEvent.READY)
        closed = asyncio.create_task(replica.actor.closed())
        leaving = asyncio.create_task(replica.leaving.wait())
        try:
            await asyncio.wait((closed, leaving), return_when=asyncio.FIRST_COMPLETED)
            if closed.done():
                self.message = f"replica {replica.replica_id} died: {closed.result()}"
                log.warning("%s", self.message)
                if monotonic() - replica.since < _YOUNG_S:
                    self._pause()  # or one that dies at once would be started without end
                self._end(replica, ReplicaEvent.DIED)
            else:
                await self._let_go(replica, closed)
        finally:
            closed.cancel()
            leaving.cancel()

    async def _bring_up(self, replica: _Replica) -> None:
        waiting = asyncio.get_running_loop().call_later(_SLOW_S, self._tell_waiting, replica)
        spec = self._actor_spec(replica)
        try:
            replica.had_room = await self._cluster.has_room(spec)
            self._changed()
            replica.actor = await self._cluster.start_actor(spec)
        finally:
            waiting.cancel()
        replica.placed = True
        if replica.state is ReplicaState.STOPPING:
            return
        replica.entry = _entry(await replica.actor.call("start"))

    def _tell_waiting(self, replica: _Replica) -> None:
        """Say that a replica finds no place: else its user waits and does not know for what."""
        options = replica.spec.config.ray_actor_options.model_dump(exclude_defaults=True)
        needs = options or {"num_cpus": replica.spec.config.ray_actor_options.num_cpus}
        self.message = (
            f"{self.deployment}: a replica has waited {_SLOW_S:g} s for a process with {needs}; "
            "ask for less in ray_actor_options, or give the cluster more."
        )
        log.warning("%s", self.message)
        self._changed()

    def _actor_spec(self, replica: _Replica) -> ActorSpec:
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
            instance=self._state.instance,
            secret=self._state.secret,
            max_message=self._state.config["cluster"]["max_message_bytes"],
            transport=self._state.config["cluster"]["transport"],
            config=dict(self._state.config),
        )
        options = config.ray_actor_options.model_dump(exclude_none=True)
        limit = config.max_replicas_per_node
        return ActorSpec(
            name=f"{replica_prefix(self._state.instance)}{replica.replica_id}",
            target=REPLICA_TARGET,
            args=(inside,),
            options={name: value for name, value in options.items() if value != {}},
            plugins=self._plugins,
            import_paths=spec.import_paths,
            group=str(spec.id),
            max_per_node=limit or 0,
        )

    def _failed(self, replica: _Replica, error: BaseException) -> None:
        if replica.state is ReplicaState.STARTING and self._is_wanted(replica):
            # What has run before is tried for ever: its code is not what is broken.
            self.failures += not self._has_run
            self._pause()
            self.message = start_failure(replica.spec.id, error)
            self._log_failure()
        self._end(replica, ReplicaEvent.FAILED)

    def _note_that_it_runs(self, replica: _Replica) -> None:
        wanted = None if self.spec is None else target_of(self.spec)
        if wanted and (replica.spec.version, replica.settings) == (wanted.version, wanted.settings):
            self._has_run = True

    def _pause(self) -> None:
        """Start the next replica after a pause that grows with failures in a row."""
        if monotonic() - self._resume_at > _IN_A_ROW_S:
            self._failed_in_turn = 0
        self._failed_in_turn += 1
        pause = _FAILURE_PAUSE_S[min(self._failed_in_turn - 1, len(_FAILURE_PAUSE_S) - 1)]
        self._resume_at = monotonic() + pause

    def _log_failure(self) -> None:
        """Log a failed start, unless whoever deploys is about to be told."""
        if self._has_run:
            # The whole traceback once: the next tries will most likely repeat it.
            first = self._failed_in_turn == 1
            log.warning("%s", self.message if first else first_line(self.message))
        else:
            log.debug("%s", self.message)

    def _is_wanted(self, replica: _Replica) -> bool:
        return self.spec is not None and replica.spec.version == self.spec.version

    def _drain(self, replica: _Replica) -> None:
        """Take it out of every router's sight; `_live` does the rest."""
        starting = replica.state is ReplicaState.STARTING
        self._move(replica, ReplicaEvent.DRAIN)
        replica.leaving.set()
        if starting and replica.life is not None:
            replica.life.cancel()

    async def _let_go(self, replica: _Replica, closed: asyncio.Task[str]) -> None:
        """Wait for its last request, no longer than allowed; run its destructor; end it."""
        assert replica.actor is not None
        limit = replica.spec.config.graceful_shutdown_timeout_s
        try:
            async with asyncio.timeout(limit + _STOP_S):
                await replica.actor.call("stop", limit)
        except (TimeoutError, ActorDied):
            pass
        except Exception as error:  # the user's destructor
            log.warning("replica %s did not stop cleanly: %r", replica.replica_id, error)
        self._end(replica, ReplicaEvent.IDLE)

    def _end(self, replica: _Replica, event: ReplicaEvent) -> None:
        if replica.actor is not None:
            replica.actor.kill()
        self._replicas.pop(replica.replica_id, None)
        self._freed_at = monotonic()
        self._move(replica, event)

    def _move(self, replica: _Replica, event: ReplicaEvent) -> None:
        replica.state = advance(replica.state, event)
        replica.since = monotonic()
        self._observed(replica.replica_id, replica.state, event.value)
        self._changed()

    def _reconfigure(self, replica: _Replica) -> None:
        if replica.reconfiguring:
            return
        assert self.spec is not None
        replica.reconfiguring = True
        settings = target_of(self.spec).settings
        asyncio.get_running_loop().create_task(self._hand_over(replica, settings))

    async def _hand_over(self, replica: _Replica, settings: Settings) -> None:
        """Give a running replica new settings; one that refuses them is replaced."""
        assert replica.actor is not None
        assert replica.entry is not None
        try:
            user_config: Any = json.loads(settings.user_config)
            await replica.actor.call("reconfigure", settings.max_ongoing, user_config)
        except Exception as error:  # the user's reconfigure
            self.failures += 1
            self.message = start_failure(replica.spec.id, error)
            if replica.state is ReplicaState.RUNNING:
                self._drain(replica)
        else:
            replica.settings = settings
            self._note_that_it_runs(replica)
            old = replica.entry
            replica.entry = replace(old, max_ongoing=settings.max_ongoing)
        finally:
            replica.reconfiguring = False
            self._changed()


def _entry(started: Started) -> ReplicaEntry:
    return ReplicaEntry(started.replica_id, started.address, started.node_id, started.max_ongoing)


def first_line(text: str) -> str:
    return text.partition("\n")[0]


def replica_prefix(instance: str) -> str:
    """Return what the names of an instance's replica actors begin with."""
    return f"{instance_prefix(instance)}replica:"


def instance_prefix(instance: str) -> str:
    """Return what the names of all its actors begin with, but the controller's own."""
    return f"alacarte:{instance}:"


def start_failure(deployment: DeploymentId, error: BaseException) -> str:
    """Say why a replica did not start: the user's frame and the reason first."""
    if isinstance(error, ActorDied | ServeError):
        return f"{deployment}: {error}"
    return f"{deployment}: {type(error).__name__}: {error}"
