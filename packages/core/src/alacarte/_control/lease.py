"""An instance that ends with the process that started it.

The process renews a lease as long as it lives. When it has not for a while, it is gone: nothing
else tells of a process that was killed, or whose machine was lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

__all__ = ["LEASE_S", "Lease"]

log = logging.getLogger("alacarte.controller")
LEASE_S = 20.0
"""A process may stand still for that long, in code that lets no other thread run."""

_RESOLUTION_S = 0.01
"""Timers may go off a little early."""


class Lease:
    """Waits for the end of the holder. Lives on the controller's loop.

    Args:
        lapsed: Awaited once, when the holder is gone.
    """

    def __init__(self, lapsed: Callable[[], Awaitable[object]]) -> None:
        self._lapsed = lapsed
        self._until = 0.0
        self._waiting: asyncio.Task[None] | None = None

    def renew(self) -> None:
        """The holder lives."""
        loop = asyncio.get_running_loop()
        self._until = loop.time() + LEASE_S
        if self._waiting is None:
            self._waiting = loop.create_task(self._wait())

    def close(self) -> None:
        """Wait no longer, unless it is this that ends the instance."""
        if self._waiting is not None and self._waiting is not asyncio.current_task():
            self._waiting.cancel()

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            left = self._until - loop.time()
            while left > _RESOLUTION_S:
                await asyncio.sleep(left)
                left = self._until - loop.time()
            log.warning("the process that this instance was to end with is gone: it ends")
            try:
                await self._lapsed()
            except Exception:  # whatever the cluster answers, the holder is gone
                log.exception("the instance could not be ended")
                self._until = loop.time() + LEASE_S
            else:
                return
