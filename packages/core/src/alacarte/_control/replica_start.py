"""Start of one replica: wait for a start permit, place the process, run the constructor."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping

from .._cluster.cluster_protocol import Actor, ActorSpec, Cluster, ClusterUnresponsive
from .._cluster.stubs import stub
from ..actors import ActorDied, ReplicaInfo, ReplicaProtocol
from ..errors import DeployError
from .health_monitor import wait_unresponsive
from .shortage import describe_shortage, remedy
from .start_gate import CONSTRUCTOR_PERMIT_S, StartGate, StartPermit

__all__ = ["WAITS_FOR_PROCESS", "ReplicaStart"]

_FIRST_POLL_S = 5.0
_POLL_S = 10.0
"""Interval of the polls for free resources, after the first poll."""
WAITS_FOR_OTHERS = "waits for other replicas to start: at most one per CPU core starts at a time"
WAITS_FOR_PROCESS = "waits for a process"
"""The message of a replica without a process, while no resource is known to be missing."""


class ReplicaStart:
    """Start of one replica. Lives on the controller's loop.

    Args:
        cluster: Places the replica.
        gate: Limits concurrent starts.
        placement_timeout_s: Time for the process to come up while its resources are free.
        changed: Called when an attribute has changed.
        on_missing: Called after each poll that finds resources missing.

    Attributes:
        is_queued: The replica waits for a start permit.
        is_placed: The replica's process is up.
        had_resources: Whether the first poll found the resources free; None before its answer.
        admitted_at: Time of the permit on the loop's clock; 0.0 for a replica that did not wait.
        actor: The replica's process; None before placement.
    """

    def __init__(
        self,
        cluster: Cluster,
        gate: StartGate,
        placement_timeout_s: float,
        changed: Callable[[], None],
        on_missing: Callable[[], None],
    ) -> None:
        self.is_queued = False
        self.is_placed = False
        self.had_resources: bool | None = None
        self.admitted_at = 0.0
        self.actor: Actor | None = None
        self._missing: Mapping[str, tuple[float, float]] | None = None
        self._cluster = cluster
        self._gate = gate
        self._placement_timeout_s = placement_timeout_s
        self._changed = changed
        self._on_missing = on_missing
        self._permit: StartPermit | None = None

    @property
    def missing(self) -> Mapping[str, tuple[float, float]]:
        """The missing resources as (needed, free), {} if none is missing or the process is up."""
        return {} if self.is_placed else self._missing or {}

    @property
    def message(self) -> str:
        """The reason why the replica is still starting, for the status."""
        if self.is_queued:
            return WAITS_FOR_OTHERS
        if self.is_placed:
            return "its constructor has not returned yet"
        if not self._missing:
            return WAITS_FOR_PROCESS
        return f"waits for {describe_shortage(self._missing)}. {remedy([*self._missing])}"

    def adopt(self, actor: Actor) -> None:
        """Take over a process that a former controller started."""
        self.actor = actor
        self.is_placed = True

    async def run(self, actor_spec: ActorSpec, start_timeout_s: float | None) -> ReplicaInfo:
        """Start the replica and return its description.

        Args:
            start_timeout_s: Limit for the constructor; None for no limit.

        Raises:
            ActorDied: The process did not come up, or ended.
            ClusterUnresponsive: The cluster does not answer.
            DeployError: The constructor raised, or did not return in time.
        """
        try:
            await self._wait_for_permit(actor_spec.group)
            actor = self.actor = await self._place(actor_spec)
            self.is_placed = True
            self._changed()
            if self._permit is not None:
                self._permit.extend(CONSTRUCTOR_PERMIT_S)
            return await _construct(stub(ReplicaProtocol, actor), start_timeout_s)
        finally:
            self._release_permit()

    async def _wait_for_permit(self, deployment: str) -> None:
        """Wait for a start permit."""
        if self._gate.is_full:
            self.is_queued = True
            self._changed()
        self._permit = await self._gate.acquire(deployment)
        if self.is_queued:
            # The placement timeout runs from here.
            self.admitted_at = asyncio.get_running_loop().time()
            self.is_queued = False
            self._changed()

    def _release_permit(self) -> None:
        """Allow another replica to start."""
        if self._permit is not None:
            self._permit.release()

    async def _place(self, actor_spec: ActorSpec) -> Actor:
        """Place the replica's process in the cluster and return its actor."""
        placing = asyncio.create_task(self._cluster.start_actor(actor_spec))
        polling = asyncio.create_task(self._poll_resources(actor_spec))
        try:
            await asyncio.wait((placing, polling), return_when=asyncio.FIRST_COMPLETED)
            if placing.done():
                return placing.result()
            polling.result()
        except asyncio.CancelledError:
            if placing.done() and not placing.cancelled() and placing.exception() is None:
                placing.result().kill()  # no other reference to the actor exists
            raise
        finally:
            placing.cancel()
            polling.cancel()
        raise ActorDied(
            f"its process has not come up within {self._placement_timeout_s:g} s, though the "
            "cluster has room for it. See the log of the node, or raise "
            "cluster_options.actor_start_timeout_s."
        )

    async def _poll_resources(self, actor_spec: ActorSpec) -> None:
        """Poll the cluster for missing resources until the placement timeout has passed.

        Only time in which the resources are free counts towards the timeout.
        """
        loop = asyncio.get_running_loop()
        free_since: float | None = None
        pause_s = _FIRST_POLL_S
        while True:
            missing = await self._refresh_missing(actor_spec)
            now = loop.time()
            if missing != {}:
                free_since = None
            elif free_since is None:
                free_since = now
            elif now - free_since >= self._placement_timeout_s:
                return
            if missing:
                self._release_permit()  # a replica without a process uses no core
                self._on_missing()
            await asyncio.sleep(pause_s)
            pause_s = _POLL_S

    async def _refresh_missing(
        self, actor_spec: ActorSpec
    ) -> dict[str, tuple[float, float]] | None:
        """Update and return the missing resources; None if the cluster does not answer."""
        missing: dict[str, tuple[float, float]] | None = None
        with contextlib.suppress(ActorDied, ClusterUnresponsive):
            missing = await self._cluster.missing(actor_spec)
        if self.had_resources is None and missing is not None:
            # Only the first answer counts: the replica's own resources are taken before its
            # process is up, and later answers may find too few for a second one.
            self.had_resources = missing == {}
            self._changed()
        if missing != self._missing:
            self._missing = missing
            self._changed()
        return missing


async def _construct(process: ReplicaProtocol, limit_s: float | None) -> ReplicaInfo:
    """Run the replica's constructor in its process and return the replica's description."""
    starting = asyncio.ensure_future(process.start())
    unresponsive = asyncio.create_task(wait_unresponsive(process))
    try:
        await asyncio.wait(
            (starting, unresponsive), timeout=limit_s, return_when=asyncio.FIRST_COMPLETED
        )
        if starting.done():
            return starting.result()
    finally:
        starting.cancel()
        unresponsive.cancel()
    if unresponsive.done():
        raise ActorDied(unresponsive.result())
    raise DeployError(f"its constructor has not returned within start_timeout_s={limit_s:g} s.")
