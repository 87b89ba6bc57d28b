"""The lease of a driver whose instance ends with it.

The driver renews the lease while it lives. An expired lease is the only sign that reaches the
controller when the driver is killed or its machine is lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

__all__ = ["LEASE_S", "Lease"]

log = logging.getLogger("alacarte.controller")
LEASE_S = 20.0
"""Duration of a lease: code that holds the interpreter lock may block a driver for as long."""

_RESOLUTION_S = 0.01
"""Timers may fire a little early."""


class Lease:
    """A lease that calls back when it expires. Lives on the controller's loop.

    Args:
        expired: Awaited when the lease has expired; once, unless it fails.
    """

    def __init__(self, expired: Callable[[], Awaitable[object]]) -> None:
        self._expired = expired
        self._expires_at = 0.0
        self._waiting: asyncio.Task[None] | None = None

    def renew(self) -> None:
        """Renew the lease, or start it."""
        loop = asyncio.get_running_loop()
        self._expires_at = loop.time() + LEASE_S
        if self._waiting is None:
            self._waiting = loop.create_task(self._wait())

    def close(self) -> None:
        """Cancel the lease, unless its expiry is the caller."""
        if self._waiting is not None and self._waiting is not asyncio.current_task():
            self._waiting.cancel()

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            left = self._expires_at - loop.time()
            while left > _RESOLUTION_S:
                await asyncio.sleep(left)
                left = self._expires_at - loop.time()
            log.warning(
                "the driver that started this instance has not renewed its lease for %g s: the "
                "instance shuts down. Start it with detached=True to keep it running.",
                LEASE_S,
            )
            try:
                await self._expired()
            except Exception:  # the shutdown must be retried, whatever the cluster answers
                log.exception("the shutdown failed and is retried in %g s", LEASE_S)
                self._expires_at = loop.time() + LEASE_S
            else:
                return
