"""Work queue of the control loop: deployments that changed, or whose delay has passed."""

from __future__ import annotations

import asyncio
import heapq

from ..types import DeploymentId

__all__ = ["WorkQueue"]

_MIN_DELAY_S = 0.001
_EARLY_S = _MIN_DELAY_S / 2
"""Time by which a timer may fire early; its deployment counts as due."""


class WorkQueue:
    """A queue that holds each deployment at most once. Lives on the controller's loop.

    So a reconcile pass costs time for the queued deployments only.
    """

    def __init__(self) -> None:
        self._ready: dict[DeploymentId, None] = {}
        self._times: dict[DeploymentId, float] = {}
        self._heap: list[tuple[float, DeploymentId]] = []
        self._wake = asyncio.Event()

    def add(self, deployment: DeploymentId) -> None:
        """Queue a deployment for the next reconcile pass."""
        self._ready[deployment] = None
        self._wake.set()

    def add_after(self, deployment: DeploymentId, delay_s: float | None) -> None:
        """Queue a deployment after a delay that replaces its earlier delay; None cancels that."""
        if delay_s is None:
            self._times.pop(deployment, None)
            return
        at = asyncio.get_running_loop().time() + max(delay_s, _MIN_DELAY_S)
        self._times[deployment] = at
        heapq.heappush(self._heap, (at, deployment))

    async def take(self) -> list[DeploymentId]:
        """Wait for queued deployments, and return all of them, oldest first."""
        loop = asyncio.get_running_loop()
        while True:
            self._collect(loop.time() + _EARLY_S)
            if self._ready:
                break
            self._wake.clear()
            timer = loop.call_at(self._heap[0][0], self._wake.set) if self._heap else None
            try:
                await self._wake.wait()
            finally:
                if timer is not None:
                    timer.cancel()
        found = list(self._ready)
        self._ready.clear()
        return found

    def _collect(self, now: float) -> None:
        while self._heap and self._heap[0][0] <= now:
            at, deployment = heapq.heappop(self._heap)
            if self._times.get(deployment) == at:
                del self._times[deployment]
                self._ready[deployment] = None
