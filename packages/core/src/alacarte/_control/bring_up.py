"""How a replica comes up: its turn among the starts, a place in the cluster, its constructor."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping

from .._cluster.cluster_protocol import Actor, ActorSpec, Cluster, ClusterUnresponsive
from .._cluster.stubs import stub
from ..actors import ActorDied, ReplicaInfo, ReplicaProtocol
from ..errors import DeployError
from .health_monitor import wait_silent
from .shortage import describe_shortage, remedy
from .start_gate import CONSTRUCTOR_S, StartGate, Turn

__all__ = ["WAITS_FOR_PROCESS", "BringUp"]

_FIRST_POLL_S = 5.0
_POLL_S = 10.0
"""How often the cluster is asked whether there is a place by now, after the first time."""
WAITS_FOR_OTHERS = "waits for other replicas to start: no more at once than there are cores"
WAITS_FOR_PROCESS = "waits for a process"
"""The message of a replica without one as long as nothing is known to be missing."""


class BringUp:
    """One replica's start. Lives on the controller's loop.

    Args:
        cluster: Where the replica is placed.
        gate: Says when it may start.
        patience_s: How long its process may take to come up where there is room for it.
        changed: Called when an attribute has changed.
        waits: Called each time the cluster says that it has no place.

    Attributes:
        is_queued: It waits for its turn.
        is_placed: Its process is up.
        had_room: There was room when it was asked for; None as long as the cluster has not said.
        entered_at: When its turn came, on the loop's clock; 0.0 where it had not to wait.
        actor: Its process; None before it is placed.
    """

    def __init__(
        self,
        cluster: Cluster,
        gate: StartGate,
        patience_s: float,
        changed: Callable[[], None],
        waits: Callable[[], None],
    ) -> None:
        self.is_queued = False
        self.is_placed = False
        self.had_room: bool | None = None
        self.entered_at = 0.0
        self.actor: Actor | None = None
        self._missing: Mapping[str, tuple[float, float]] | None = None
        self._cluster = cluster
        self._gate = gate
        self._patience_s = patience_s
        self._changed = changed
        self._waits = waits
        self._turn: Turn | None = None

    @property
    def missing(self) -> Mapping[str, tuple[float, float]]:
        """The resources that it lacks while it has no place, {} where it lacks none."""
        return {} if self.is_placed else self._missing or {}

    @property
    def message(self) -> str:
        """What the start waits for."""
        if self.is_queued:
            return WAITS_FOR_OTHERS
        if self.is_placed:
            return "its constructor has not returned yet"
        if not self._missing:
            return WAITS_FOR_PROCESS
        return f"waits for {describe_shortage(self._missing)}. {remedy([*self._missing])}"

    def adopt(self, actor: Actor) -> None:
        """Take in a process that a former controller has brought up."""
        self.actor = actor
        self.is_placed = True

    async def run(self, actor_spec: ActorSpec, start_timeout_s: float | None) -> ReplicaInfo:
        """Bring the replica up; return its description.

        Args:
            start_timeout_s: For its constructor; None for no bound.

        Raises:
            ActorDied: Its process did not come up, or ended.
            ClusterUnresponsive: The cluster does not answer.
            DeployError: Its constructor raised, or has not returned in time.
        """
        try:
            await self._wait_for_turn(actor_spec.group)
            actor = self.actor = await self._placed(actor_spec)
            self.is_placed = True
            self._changed()
            if self._turn is not None:
                self._turn.hold(CONSTRUCTOR_S)
            return await _constructed(stub(ReplicaProtocol, actor), start_timeout_s)
        finally:
            self._leave_gate()

    async def _wait_for_turn(self, deployment: str) -> None:
        """Return when not too many others start."""
        if self._gate.is_full:
            self.is_queued = True
            self._changed()
        self._turn = await self._gate.enter(deployment)
        if self.is_queued:
            # From now on, patience with the cluster counts.
            self.entered_at = asyncio.get_running_loop().time()
            self.is_queued = False
            self._changed()

    def _leave_gate(self) -> None:
        """Let others start."""
        if self._turn is not None:
            self._turn.leave()

    async def _placed(self, actor_spec: ActorSpec) -> Actor:
        """Return its process once it is up."""
        placing = asyncio.create_task(self._cluster.start_actor(actor_spec))
        polling = asyncio.create_task(self._poll_for_room(actor_spec))
        try:
            await asyncio.wait((placing, polling), return_when=asyncio.FIRST_COMPLETED)
            if placing.done():
                return placing.result()
            polling.result()
        except asyncio.CancelledError:
            if placing.done() and not placing.cancelled() and placing.exception() is None:
                placing.result().kill()  # nobody else knows of it
            raise
        finally:
            placing.cancel()
            polling.cancel()
        raise ActorDied(
            f"its process has not come up within {self._patience_s:g} s, though the cluster has "
            "room for it; cluster_options.actor_start_timeout_s says how long to wait."
        )

    async def _poll_for_room(self, actor_spec: ActorSpec) -> None:
        """Ask the cluster again and again what is missing while the replica has no place.

        Returns when there has been room for as long as a process may take to come up.
        """
        loop = asyncio.get_running_loop()
        room_since: float | None = None
        pause_s = _FIRST_POLL_S
        while True:
            missing = await self._asked_for(actor_spec)
            now = loop.time()
            if missing != {}:
                room_since = None
            elif room_since is None:
                room_since = now
            elif now - room_since >= self._patience_s:
                return
            if missing:
                self._leave_gate()  # who waits for a place takes no core
                self._waits()
            await asyncio.sleep(pause_s)
            pause_s = _POLL_S

    async def _asked_for(self, actor_spec: ActorSpec) -> dict[str, tuple[float, float]] | None:
        """Return what the cluster lacks for it, None where it does not say."""
        missing: dict[str, tuple[float, float]] | None = None
        with contextlib.suppress(ActorDied, ClusterUnresponsive):
            missing = await self._cluster.missing(actor_spec)
        if self.had_room is None and missing is not None:
            # The first answer counts: what it gets is taken before its process is up, and then
            # there may be no room for another.
            self.had_room = missing == {}
            self._changed()
        if missing != self._missing:
            self._missing = missing
            self._changed()
        return missing


async def _constructed(process: ReplicaProtocol, limit_s: float | None) -> ReplicaInfo:
    """Have a process construct the user's object; return the replica's description."""
    starting = asyncio.ensure_future(process.start())
    silent = asyncio.create_task(wait_silent(process))
    try:
        await asyncio.wait((starting, silent), timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            return starting.result()
    finally:
        starting.cancel()
        silent.cancel()
    if silent.done():
        raise ActorDied(silent.result())
    raise DeployError(f"its constructor has not returned within start_timeout_s={limit_s:g} s.")
