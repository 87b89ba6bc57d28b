"""Which deployments to look at next: those that changed, and those whose time has come."""

from __future__ import annotations

import asyncio
import heapq

from ..types import DeploymentId

__all__ = ["Looks"]

_LEAST_S = 0.001


class Looks:
    """What is due. Lives on the controller's loop; a look costs what is due, not what there is."""

    def __init__(self) -> None:
        self._due: dict[DeploymentId, None] = {}
        self._times: dict[DeploymentId, float] = {}
        self._heap: list[tuple[float, DeploymentId]] = []
        self._wake = asyncio.Event()

    def now(self, deployment: DeploymentId) -> None:
        """Look at a deployment as soon as possible."""
        self._due[deployment] = None
        self._wake.set()

    def again(self, deployment: DeploymentId, pause_s: float | None) -> None:
        """Look at it after a pause, None for not before it changes. The last word counts."""
        if pause_s is None:
            self._times.pop(deployment, None)
            return
        # Timers may go off a little early, and would then be set for no time at all.
        at = asyncio.get_running_loop().time() + max(pause_s, _LEAST_S)
        self._times[deployment] = at
        heapq.heappush(self._heap, (at, deployment))

    async def due(self) -> list[DeploymentId]:
        """Return what is due, as soon as anything is, oldest first."""
        loop = asyncio.get_running_loop()
        while True:
            self._collect(loop.time())
            if self._due:
                break
            self._wake.clear()
            timer = loop.call_at(self._heap[0][0], self._wake.set) if self._heap else None
            try:
                await self._wake.wait()
            finally:
                if timer is not None:
                    timer.cancel()
        found = list(self._due)
        self._due.clear()
        return found

    def _collect(self, now: float) -> None:
        while self._heap and self._heap[0][0] <= now:
            at, deployment = heapq.heappop(self._heap)
            if self._times.get(deployment) == at:
                del self._times[deployment]
                self._due[deployment] = None
