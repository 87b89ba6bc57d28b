"""How many replicas start at the same time: as many as the nodes have cores, in fair order.

To start a process and import a user's modules takes a core for a second or more. Twenty at once on
two cores would take those from the replicas that serve meanwhile, and none would be up any sooner.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict, deque
from collections.abc import Sequence

from .._cluster.cluster_protocol import Node

__all__ = ["CONSTRUCTOR_S", "PROCESS_S", "StartGate", "Turn", "starts_at_once"]

PROCESS_S = 30.0
"""How long a replica keeps its turn while its process comes up."""
CONSTRUCTOR_S = 5.0
"""How long it keeps its turn after that: a model that loads for minutes holds nobody up."""


def starts_at_once(nodes: Sequence[Node], here: Node) -> float:
    """Return how many replicas may start at the same time; `inf` where no cores are known.

    Args:
        nodes: Those that are up. Nodes of one address share its cores.
        here: Our own, whose cores are those of the machine whatever the cluster was told.
    """
    if not all(node.cores for node in nodes):
        return math.inf
    cores: dict[str, int] = defaultdict(int)
    for node in nodes:
        cores[node.address] += node.cores
    if here.cores and here.address in cores:
        cores[here.address] = min(cores[here.address], here.cores)
    return max(sum(cores.values()), 1)


class Turn:
    """A replica's permission to start. It ends with `leave`, or with its time."""

    def __init__(self, gate: StartGate) -> None:
        self._gate = gate
        self._timer: asyncio.TimerHandle | None = None

    def hold(self, limit_s: float) -> None:
        """Keep it for so much longer at most; one that has ended stays so."""
        if self in self._gate.taken:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_later(limit_s, self.leave)

    def leave(self) -> None:
        """Let the next replica start."""
        if self._timer is not None:
            self._timer.cancel()
        self._gate.leave(self)


class StartGate:
    """Lets replicas start, those of different deployments in turn. Lives on the controller's loop.

    Args:
        limit: Replicas that may start at the same time.

    Attributes:
        taken: The turns of those that do.
    """

    def __init__(self, limit: float = math.inf) -> None:
        self.limit = limit
        self.taken: set[Turn] = set()
        self._waiting: dict[str, deque[asyncio.Future[Turn]]] = {}

    @property
    def is_full(self) -> bool:
        """Whether a replica that comes now has to wait."""
        return bool(self._waiting) or len(self.taken) >= self.limit

    def resize(self, limit: float) -> None:
        """Let so many start at the same time from now on."""
        self.limit = limit
        self._admit()

    async def enter(self, deployment: str) -> Turn:
        """Return when a replica of that deployment may start."""
        future: asyncio.Future[Turn] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(deployment, deque()).append(future)
        self._admit()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                future.result().leave()
            self._forget(deployment, future)
            raise

    def leave(self, turn: Turn) -> None:
        """A turn has ended."""
        self.taken.discard(turn)
        self._admit()

    def _admit(self) -> None:
        while self._waiting and len(self.taken) < self.limit:
            deployment = next(iter(self._waiting))
            queue = self._waiting.pop(deployment)
            future = queue.popleft()
            if queue:
                self._waiting[deployment] = queue  # behind the others
            if not future.done():
                turn = Turn(self)
                self.taken.add(turn)
                turn.hold(PROCESS_S)
                future.set_result(turn)

    def _forget(self, deployment: str, future: asyncio.Future[Turn]) -> None:
        queue = self._waiting.get(deployment)
        if queue is not None and future in queue:
            queue.remove(future)
            if not queue:
                del self._waiting[deployment]
