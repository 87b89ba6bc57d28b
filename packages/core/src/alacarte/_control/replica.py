"""One replica's process, from the controller's side: start it, watch it, let it go.

Lives on the controller's loop. Whoever owns it hears of every change and decides; here is only
what must be done and waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from .._cluster.protocol import Actor, ActorDied, ActorSpec, Cluster, ClusterSilent
from .._model.specs import DeploymentSpec
from ..actors import Pulse, ReplicaEntry, ReplicaInfo
from ..errors import DeployError, ServeError
from ..status import Failure, ReplicaOverview, ReplicaState
from .health import Health, after_failure, after_success, judge, next_check_s
from .lifecycle import SERVING, ReplicaEvent, advance
from .reconcile import ReplicaView, Settings
from .shortage import describe_shortage, remedy
from .start_gate import CONSTRUCTOR_S, StartGate, Turn

__all__ = ["WAITS_FOR_PROCESS", "Owner", "Replica"]

log = logging.getLogger("alacarte.controller")
_STOP_S = 5.0
"""For the user's destructor and the like, once the last request has ended."""
_FIRST_LOOK_S = 5.0
_SLOW_S = 10.0
"""How often the cluster is asked whether there is a place by now, after the first look."""
_PULSE_S = 2.0
_PULSES = 3
"""After so many questions without an answer, each for so long, a process is unfit."""
_STARTING_PULSES = 150
"""The same while its constructor works: to load a model may stop all its threads for minutes."""
_LOOK_S = 5.0
_SILENT = f"its process has not answered for {_PULSES * _PULSE_S:g} s"
_JITTER = 0.1
WAITS_FOR_OTHERS = "waits for other replicas to start: no more at once than there are cores"
WAITS_FOR_PROCESS = "waits for a process"
"""What is told of a replica without one as long as nothing is known to be missing."""


class Owner(Protocol):
    """Who has the replica."""

    def moved(self, replica: Replica, event: ReplicaEvent) -> None:
        """It is in another state now."""

    def waits(self, replica: Replica) -> None:
        """It still finds no place; asked again and again."""

    def failed(self, replica: Replica, failure: Failure) -> None:
        """Something went wrong; the state follows, if it changes."""

    def changed(self) -> None:
        """Something else about it changed."""


@dataclass(eq=False)
class _Facts:
    """What is known of it beside its state."""

    queued: bool = False
    placed: bool = False
    missing: dict[str, tuple[float, float]] | None = None
    had_room: bool | None = None
    health: Health = field(default_factory=Health)
    refused: str = ""
    silent: bool = False
    leaves_at: float | None = None


class Replica:
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
        owner: Owner,
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
        self._patience_s = patience_s
        self._gate = gate
        self._turn: Turn | None = None
        self._facts = _Facts()
        self._since = self._loop.time()
        self._since_unix = time.time()
        self._ready_at = 0.0
        self._actor: Actor | None = None
        self._checks_itself = False
        self._life: asyncio.Task[None] | None = None
        self._probing: asyncio.Task[None] | None = None
        self._updating: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._leaving = asyncio.Event()
        self._view: ReplicaView | None = None

    @property
    def view(self) -> ReplicaView:
        view = self._view
        if view is None:
            facts = self._facts
            view = self._view = ReplicaView(
                self.replica_id,
                self.spec.version,
                self.state,
                self.settings,
                self._since,
                facts.placed,
                facts.had_room is True,
                facts.health.is_good and not facts.refused and not facts.silent,
                facts.leaves_at,
                facts.queued,
            )
        return view

    @property
    def silent_on(self) -> str:
        """The node of one that does not answer, "" for one that does."""
        return self.entry.node_id if self._facts.silent and self.entry is not None else ""

    @property
    def waits_for(self) -> Mapping[str, tuple[float, float]]:
        """The resources it lacks while it waits for a place, {} where it lacks none."""
        if self.state is not ReplicaState.STARTING or self._facts.placed:
            return {}
        return self._facts.missing or {}

    @property
    def in_doubt(self) -> bool:
        """Requests should go to others meanwhile."""
        return self._facts.silent or self._facts.health.wants_rest

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
        facts = self._facts
        if self.state is ReplicaState.STARTING:
            if facts.queued:
                return WAITS_FOR_OTHERS
            if not facts.placed:
                if not facts.missing:
                    return WAITS_FOR_PROCESS
                return f"waits for {describe_shortage(facts.missing)}. {remedy([*facts.missing])}"
            return "its constructor has not returned yet"
        return _SILENT if facts.silent else facts.refused or facts.health.message

    # --- told by its owner --------------------------------------------------------------

    def begin(self, actor_spec: ActorSpec) -> None:
        """Bring it up."""
        self._life = self._loop.create_task(self._live(actor_spec))

    def adopt(self, actor: Actor, started: ReplicaInfo) -> None:
        """Take in one that runs already, or has been told to stop."""
        self._actor = actor
        self._learn(started)
        if started.leaving:
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
        for task in (self._life, self._probing, self._updating):
            if task is not None:
                task.cancel()
        if self._actor is not None:
            self._actor.kill()

    def reconfigure(self, settings: Settings) -> None:
        """Give it new settings; one that refuses them is unfit."""
        self._move(ReplicaEvent.UPDATE)
        self._updating = self._loop.create_task(self._hand_over(settings))

    def try_again(self) -> None:
        """Other settings are wanted now: that it refused the last ones is over."""
        if self._facts.refused:
            self._note(refused="")

    def migrate(self, leaves_at: float | None) -> None:
        """Take in its node's drain deadline, on the loop's clock; None where the node stays."""
        if leaves_at == self._facts.leaves_at:
            return
        self._note(leaves_at=leaves_at)
        if leaves_at is not None and self.state is ReplicaState.RUNNING:
            self._move(ReplicaEvent.MIGRATE)
        elif leaves_at is None and self.state is ReplicaState.PENDING_MIGRATION:
            self._move(ReplicaEvent.STAY)

    def suspect(self) -> None:
        """Somebody has had no word of it: find out whether its process is alive."""
        if self.state in SERVING and (self._probing is None or self._probing.done()):
            self._probing = self._loop.create_task(self._probe())

    # --- its life -----------------------------------------------------------------------

    async def _live(self, actor_spec: ActorSpec) -> None:
        """Bring it up, wait for its end, and clean up."""
        try:
            try:
                await self._wait_for_turn()
                started = await self._bring_up(actor_spec)
            finally:
                self._leave_gate()
        except (Exception, asyncio.CancelledError) as error:
            # The user's constructor may raise anything; so may a process that does not come up.
            if isinstance(error, asyncio.CancelledError):
                if not self._leaving.is_set():
                    raise
            elif self.state is ReplicaState.STARTING:
                self._fail("cluster" if isinstance(error, ClusterSilent) else "start", error)
            self._end(ReplicaEvent.FAILED)
            return
        self._learn(started)
        self._move(ReplicaEvent.READY)
        await self._follow()

    async def _wait_for_turn(self) -> None:
        """Return when not too many others start."""
        if self._gate.is_full:
            self._note(queued=True)
        self._turn = await self._gate.enter(str(self.spec.id))
        if self._facts.queued:
            self._since = self._loop.time()  # from now on, patience with the cluster counts
            self._note(queued=False)

    def _leave_gate(self) -> None:
        """Let others start."""
        if self._turn is not None:
            self._turn.leave()

    async def _bring_up(self, actor_spec: ActorSpec) -> ReplicaInfo:
        self._actor = await self._placed(actor_spec)
        self._note(placed=True)
        if self._turn is not None:
            self._turn.hold(CONSTRUCTOR_S)
        starting = self._loop.create_task(self._actor.call("start"))
        silent = self._loop.create_task(self._silent())
        limit = self.spec.config.start_timeout_s
        try:
            await asyncio.wait(
                (starting, silent), timeout=limit, return_when=asyncio.FIRST_COMPLETED
            )
            if starting.done():
                started: ReplicaInfo = starting.result()
                return started
        finally:
            starting.cancel()
            silent.cancel()
        if silent.done():
            silence = _STARTING_PULSES * _PULSE_S
            raise ActorDied(f"its process has not answered for {silence:g} s")
        raise DeployError(f"its constructor has not returned within start_timeout_s={limit:g} s.")

    async def _placed(self, actor_spec: ActorSpec) -> Actor:
        """Return its process once it is up."""
        placing = self._loop.create_task(self._cluster.start_actor(actor_spec))
        looking = self._loop.create_task(self._look_for_room(actor_spec))
        try:
            await asyncio.wait((placing, looking), return_when=asyncio.FIRST_COMPLETED)
            if placing.done():
                return placing.result()
            looking.result()
        except asyncio.CancelledError:
            if placing.done() and not placing.cancelled() and placing.exception() is None:
                placing.result().kill()  # nobody else knows of it
            raise
        finally:
            placing.cancel()
            looking.cancel()
        raise ActorDied(
            f"its process has not come up within {self._patience_s:g} s, though the cluster has "
            "room for it; cluster_options.actor_start_timeout_s says how long to wait."
        )

    async def _look_for_room(self, actor_spec: ActorSpec) -> None:
        """Tell the owner what is missing while it finds no place.

        Returns when there has been room for as long as a process may take to come up.
        """
        room_since: float | None = None
        pause_s = _FIRST_LOOK_S
        while True:
            missing = await self._missing(actor_spec)
            now = self._loop.time()
            if missing != {}:
                room_since = None
            elif room_since is None:
                room_since = now
            elif now - room_since >= self._patience_s:
                return
            if missing:
                self._leave_gate()  # who waits for a place takes no core
                self._owner.waits(self)
            await asyncio.sleep(pause_s)
            pause_s = _SLOW_S

    async def _missing(self, actor_spec: ActorSpec) -> dict[str, tuple[float, float]] | None:
        """Return what the cluster lacks for it, None where it does not tell."""
        missing: dict[str, tuple[float, float]] | None = None
        with contextlib.suppress(ActorDied, ClusterSilent):
            missing = await self._cluster.missing(actor_spec)
        if self._facts.had_room is None and missing is not None:
            # The first answer counts: what it gets is taken before its process is up, and then
            # there may be no room for another.
            self._note(had_room=missing == {})
        if missing != self._facts.missing:
            self._note(missing=missing)
        return missing

    def _learn(self, started: ReplicaInfo) -> None:
        self.entry = ReplicaEntry(
            started.replica_id, started.address, started.node_id, started.max_ongoing
        )
        self.pid = started.pid
        self._ready_at = self._loop.time()
        self._checks_itself = started.checks_itself
        self._note(placed=True)

    async def _follow(self) -> None:
        """Follow one that is up, to its end."""
        assert self._actor is not None
        closed = self._loop.create_task(self._actor.closed())
        leaving = self._loop.create_task(self._leaving.wait())
        checks = self._loop.create_task(self._check())
        try:
            await asyncio.wait((closed, leaving), return_when=asyncio.FIRST_COMPLETED)
            if closed.done():
                self._fail("death", ActorDied(closed.result()))
                self._end(ReplicaEvent.DIED)
            else:
                checks.cancel()
                await self._let_go(closed)
        finally:
            for task in (closed, leaving, checks):
                task.cancel()

    async def _let_go(self, closed: asyncio.Task[str]) -> None:
        """Wait for its last request, no longer than allowed; run its destructor; end it."""
        assert self._actor is not None
        limit = self.spec.config.graceful_shutdown_timeout_s
        stopping = self._loop.create_task(self._actor.call("stop", limit))
        await asyncio.wait(
            (stopping, closed), timeout=limit + _STOP_S, return_when=asyncio.FIRST_COMPLETED
        )
        if not stopping.done():
            stopping.cancel()
        elif (error := stopping.exception()) is not None and not isinstance(error, ActorDied):
            # the user's destructor
            log.warning("replica %s did not stop cleanly: %r", self.replica_id, error)
        self._end(ReplicaEvent.IDLE)

    def _end(self, event: ReplicaEvent) -> None:
        if self._actor is not None:
            self._actor.kill()
        if self._probing is not None:
            self._probing.cancel()
        if self._facts.silent and self.entry is not None:
            self._ending = self._loop.create_task(self._end_process(self.entry.node_id))
        self._move(event)

    async def _end_process(self, node_id: str) -> None:
        """A process that is stopped does not hear that it is killed, and would go on some day."""
        with contextlib.suppress(Exception):  # with its node, perhaps
            await self._cluster.end_process(node_id, self.pid)

    # --- its health ---------------------------------------------------------------------

    async def _check(self) -> None:
        """Check it again and again: the user's own check, and what its process tells."""
        asked_at = self._loop.time()
        while True:
            config = self.spec.config  # which may change meanwhile
            period_s = config.health_check_period_s * random.uniform(1 - _JITTER, 1 + _JITTER)
            await asyncio.sleep(next_check_s(period_s, self._loop.time() - asked_at))
            asked_at = self._loop.time()
            wrong = await self._checked(config.health_check_timeout_s)
            before = self._facts.health
            if not wrong:
                if before.failed_in_a_row:
                    self._note(health=after_success(before))
                continue
            health = after_failure(before, wrong)
            if health.is_good != before.is_good:
                self._fail("health", DeployError(wrong))
            self._note(health=health)

    async def _checked(self, limit_s: float) -> str:
        """Check it once; return what is wrong, "" for nothing."""
        assert self._actor is not None
        try:
            async with asyncio.timeout(limit_s):
                pulse: Pulse = await self._actor.call("pulse")
                if pulse.leaving:
                    # A former controller told it to; its word may come long after its end.
                    self.drain()
                    return ""
                if self._checks_itself:
                    await self._actor.call("check_health")
        except ActorDied:
            return ""  # `closed` tells, and why
        except TimeoutError:
            self.suspect()
            return f"check_health has not returned within {limit_s:g} s"
        except Exception as error:  # the user's check
            return str(error)
        return judge(pulse, limit_s)

    async def _probe(self) -> None:
        """Find out whether its process answers; as long as it does not, it is unfit.

        It is not ended: code that never lets go of the interpreter looks the same from here, and
        may yet finish its request. Its successor runs before it is told to leave.
        """
        while self.state in SERVING:
            silent = not await self._answers(_PULSES)
            if silent != self._facts.silent:
                if silent:
                    self._fail("health", DeployError(_SILENT))
                self._note(silent=silent)
            if not silent:
                return

    async def _silent(self) -> None:
        """Return when the process has not answered for as long as nothing can excuse."""
        while True:
            await asyncio.sleep(_LOOK_S)
            if not await self._answers(_STARTING_PULSES):
                return

    async def _answers(self, attempts: int) -> bool:
        """Whether its process does: a thread of its own, whatever the event loop is busy with."""
        assert self._actor is not None
        for _ in range(attempts):
            asked_at = self._loop.time()
            try:
                async with asyncio.timeout(_PULSE_S):
                    await self._actor.call("pulse")
                return True
            except TimeoutError:
                continue
            except Exception:  # most likely ActorDied
                # Perhaps only out of reach for a moment; perhaps `closed` is about to tell.
                await asyncio.sleep(max(_PULSE_S / 2 - (self._loop.time() - asked_at), 0))
        return False

    async def _hand_over(self, settings: Settings) -> None:
        assert self._actor is not None
        assert self.entry is not None
        try:
            user_config: Any = json.loads(settings.user_config)
            async with asyncio.timeout(self.spec.config.start_timeout_s):
                await self._actor.call("reconfigure", settings.max_ongoing, user_config)
        except ActorDied:
            pass  # `closed` tells
        except Exception as error:  # the user's reconfigure
            if self.state is ReplicaState.UPDATING:
                # Which of them it has taken over nobody knows.
                self.settings = replace(settings, user_config="")
                if isinstance(error, TimeoutError):
                    error = DeployError("reconfigure has not returned within start_timeout_s.")
                self._note(refused=f"it refused its new settings: {first_line(str(error))}")
                self._fail("reconfigure", error)
        else:
            self.settings = settings
            self.entry = replace(self.entry, max_ongoing=settings.max_ongoing)
        if self.state is not ReplicaState.STOPPED:
            self._move(ReplicaEvent.UPDATED)
            if self._facts.leaves_at is not None and self.state is ReplicaState.RUNNING:
                self._move(ReplicaEvent.MIGRATE)

    # ------------------------------------------------------------------------------------

    def _fail(self, kind: str, error: BaseException) -> None:
        reason, _, rest = _told(error).partition("\n")
        self._owner.failed(self, Failure(time.time(), self.replica_id, kind, reason, rest))

    def _note(self, **facts: Any) -> None:
        for name, value in facts.items():
            setattr(self._facts, name, value)
        self._view = None
        self._owner.changed()

    def _move(self, event: ReplicaEvent) -> None:
        self.state = advance(self.state, event)
        self._since = self._loop.time()
        self._since_unix = time.time()
        self._view = None
        self._owner.moved(self, event)


def first_line(text: str) -> str:
    return text.partition("\n")[0]


def _told(error: BaseException) -> str:
    """Say what went wrong: the user's frame and the reason first."""
    if isinstance(error, ActorDied | ServeError):
        return str(error)
    return f"{type(error).__name__}: {error}"
