"""The desired state of a running controller: stored first, then acted on."""

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
_SETTLE_S = 1.0


class CommittedState:
    """The state, one change at a time. Lives on the controller's loop.

    Where the cluster does not answer to a write, the change is in doubt. It is settled before the
    next change, and after a moment where no change comes.

    Args:
        storage: Holds the state, or an older one.
        state: To begin with.
        settled: Called when a change that was in doubt turns out to be stored.

    Attributes:
        state: The state to act on.
    """

    def __init__(self, storage: Storage, state: DesiredState, settled: Callable[[], None]) -> None:
        self.state = state
        self._storage = storage
        self._settled = settled
        self._lock = asyncio.Lock()
        self._settling: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def changing(self) -> AsyncIterator[DesiredState]:
        """Keep other changes out; yield the state, which is not in doubt.

        Raises:
            ClusterUnresponsive: It is in doubt, and the cluster does not answer.
        """
        async with self._lock:
            await self._settle()
            yield self.state

    async def store(self, state: DesiredState) -> None:
        """Make a state durable, then take it over. Within `changing`.

        Raises:
            ClusterUnresponsive: It is not stored; or it may be, and that will be found out.
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
        """Settle, and delete garbage, though nobody may ask for a change for a long time."""
        if not self._storage.is_settled and (self._settling is None or self._settling.done()):
            self._settling = asyncio.create_task(self._settle_soon())

    async def _settle_soon(self) -> None:
        while not self._storage.is_settled:
            await asyncio.sleep(_SETTLE_S)
            async with self._lock:
                try:
                    await self._settle()
                    await self._storage.collect()
                except ClusterUnresponsive:
                    continue
                except InternalError:
                    log.exception("the stored state is not this controller's any more")
                    return

    def close(self) -> None:
        """Settle nothing any more."""
        if self._settling is not None:
            self._settling.cancel()
