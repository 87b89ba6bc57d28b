"""The desired state of a running controller: each change is stored before it takes effect."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable

from .._cluster.cluster_protocol import ClusterUnresponsive
from ..errors import InternalError
from .desired_state import DesiredState
from .storage import Storage

__all__ = ["CommittedState"]

log = logging.getLogger("alacarte.controller")
_SETTLE_DELAY_S = 1.0


class CommittedState:
    """The committed state, with one change at a time. Lives on the controller's loop.

    A change is in doubt if the cluster did not answer its write. Changes in doubt are settled
    before the next change, or after a short delay.

    Args:
        storage: Holds this state or an older one.
        state: The initial state.
        settled: Called when a change in doubt turns out to be stored.

    Attributes:
        state: The last state known to be stored.
    """

    def __init__(self, storage: Storage, state: DesiredState, settled: Callable[[], None]) -> None:
        self.state = state
        self._storage = storage
        self._settled = settled
        self._lock = asyncio.Lock()
        self._settling: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def changing(self) -> AsyncIterator[DesiredState]:
        """Lock out other changes and yield the settled state.

        Raises:
            ClusterUnresponsive: A change is in doubt, and the cluster does not answer.
        """
        async with self._lock:
            await self._settle()
            yield self.state

    async def store(self, state: DesiredState) -> None:
        """Store a state, then make it the current one. Call within `changing`.

        Raises:
            ClusterUnresponsive: The state is not stored, or the change is in doubt.
        """
        try:
            await self._storage.save(state)
        except (Exception, asyncio.CancelledError):
            self.settle_later()
            raise
        self.state = state
        self.settle_later()

    async def _settle(self) -> None:
        if await self._storage.settle():
            assert self._storage.state is not None
            self.state = self._storage.state
            self._settled()

    def settle_later(self) -> None:
        """Schedule the settlement of a change in doubt and the deletion of garbage."""
        if not self._storage.is_settled and (self._settling is None or self._settling.done()):
            self._settling = asyncio.create_task(self._settle_soon())

    async def _settle_soon(self) -> None:
        while not self._storage.is_settled:
            await asyncio.sleep(_SETTLE_DELAY_S)
            async with self._lock:
                try:
                    await self._settle()
                    await self._storage.collect()
                except ClusterUnresponsive:
                    continue
                except InternalError:
                    log.exception("another controller has replaced the stored state")
                    return

    def close(self) -> None:
        """Cancel the scheduled settlement."""
        if self._settling is not None:
            self._settling.cancel()
