"""Limit of concurrent replica starts: one per CPU core of the nodes, in fair order.

Starting a process and importing a user's modules uses a core for a second or more. Twenty
concurrent starts on two cores would slow down the serving replicas, and finish no sooner.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict, deque
from collections.abc import Sequence

from .._cluster.cluster_protocol import Node

__all__ = [
    "CONSTRUCTOR_PERMIT_S",
    "PROCESS_PERMIT_S",
    "StartGate",
    "StartPermit",
    "max_concurrent_starts",
]

PROCESS_PERMIT_S = 30.0
"""Longest time that a replica keeps its permit while its process comes up."""
CONSTRUCTOR_PERMIT_S = 5.0
"""The same for its constructor: a model that loads for minutes must not delay other starts."""


def max_concurrent_starts(nodes: Sequence[Node], own_node: Node) -> float:
    """Return the number of replicas that may start at the same time; `inf` for unknown cores.

    Args:
        nodes: The nodes that are up. Nodes with one address share its cores.
        own_node: The controller's node with the machine's real number of cores: the cluster may
            have been configured with another one.
    """
    if not all(node.cores for node in nodes):
        return math.inf
    cores: dict[str, int] = defaultdict(int)
    for node in nodes:
        cores[node.address] += node.cores
    if own_node.cores and own_node.address in cores:
        cores[own_node.address] = min(cores[own_node.address], own_node.cores)
    return max(sum(cores.values()), 1)


class StartPermit:
    """A replica's permit to start. It ends with `release` or when it expires."""

    def __init__(self, gate: StartGate) -> None:
        self._gate = gate
        self._timer: asyncio.TimerHandle | None = None

    def extend(self, limit_s: float) -> None:
        """Let the permit expire in `limit_s`, unless it has ended already."""
        if self in self._gate.permits:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_later(limit_s, self.release)

    def release(self) -> None:
        """End the permit, and let the next replica start."""
        if self._timer is not None:
            self._timer.cancel()
        self._gate.release(self)


class StartGate:
    """Limits concurrent starts, with permits for each deployment in rotation.

    Lives on the controller's loop.

    Args:
        limit: Number of replicas that may start at the same time.

    Attributes:
        permits: The current permits.
    """

    def __init__(self, limit: float = math.inf) -> None:
        self.limit = limit
        self.permits: set[StartPermit] = set()
        self._waiting: dict[str, deque[asyncio.Future[StartPermit]]] = {}

    @property
    def is_full(self) -> bool:
        """Whether the next call of `acquire` has to wait."""
        return bool(self._waiting) or len(self.permits) >= self.limit

    def resize(self, limit: float) -> None:
        """Replace the limit."""
        self.limit = limit
        self._admit()

    async def acquire(self, deployment: str) -> StartPermit:
        """Wait for a permit to start a replica of a deployment."""
        future: asyncio.Future[StartPermit] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(deployment, deque()).append(future)
        self._admit()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                future.result().release()
            self._forget(deployment, future)
            raise

    def release(self, permit: StartPermit) -> None:
        """End a permit; called by `StartPermit.release`."""
        self.permits.discard(permit)
        self._admit()

    def _admit(self) -> None:
        while self._waiting and len(self.permits) < self.limit:
            deployment = next(iter(self._waiting))
            queue = self._waiting.pop(deployment)
            future = queue.popleft()
            if queue:
                self._waiting[deployment] = queue  # behind the other deployments
            if not future.done():
                permit = StartPermit(self)
                self.permits.add(permit)
                permit.extend(PROCESS_PERMIT_S)
                future.set_result(permit)

    def _forget(self, deployment: str, future: asyncio.Future[StartPermit]) -> None:
        queue = self._waiting.get(deployment)
        if queue is not None and future in queue:
            queue.remove(future)
            if not queue:
                del self._waiting[deployment]
