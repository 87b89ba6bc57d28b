"""Reports the load that this process puts on deployments to the controller."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from ._load_meter import LoadMeter
from ._load_reports import LoadReport

__all__ = ["LoadReporter"]

log = logging.getLogger("alacarte.autoscaling")
_PAUSE_S = 0.1
"""Changes within this time go into one report."""
_STEADY_S = 1.0
"""Between reports of a load that changes and does not rise: each report has the mean since."""
_RETRY_BACKOFF_S = 5.0
"""A load that does not change is reported again, so that the controller does not forget it."""
_LOST_S = 1.0


class LoadReporter:
    """Sends reports as the load changes, all deployments in one, with pauses in between.

    Args:
        send: Delivers reports; whatever it raises, they are sent again later.
    """

    def __init__(self, send: Callable[[tuple[LoadReport, ...]], Awaitable[object]]) -> None:
        self._send = send
        self._meters: set[LoadMeter] = set()
        self._due: set[LoadMeter] = set()
        self._news = asyncio.Event()
        self._urgent = asyncio.Event()
        self._risen = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def add(self, meter: LoadMeter) -> None:
        """Report the load of a meter from now on."""
        self._meters.add(meter)
        self.changed(meter)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def discard(self, meter: LoadMeter) -> None:
        """Report the load of a meter no more."""
        self._meters.discard(meter)
        self._due.discard(meter)
        if not self._meters:
            self.close()

    def changed(self, meter: LoadMeter, *, urgent: bool = False) -> None:
        """Report a meter's change; at once when a call waits and no replica is there."""
        self._due.add(meter)
        self._news.set()
        if urgent:
            self._urgent.set()
        if urgent or meter.has_risen:
            self._risen.set()

    def close(self) -> None:
        """Send nothing more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        sent_at = loop.time()
        while True:
            busy = any(meter.total for meter in self._meters)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(sent_at + _RETRY_BACKOFF_S if busy else None):
                    await self._news.wait()
            sent_at = loop.time()
            if not self._due:
                self._due |= {meter for meter in self._meters if meter.total}
            due = list(self._due)
            self._due.clear()
            self._news.clear()
            self._urgent.clear()
            self._risen.clear()
            pauses = [(_PAUSE_S, self._urgent), (_STEADY_S - _PAUSE_S, self._risen)]
            try:
                await self._send(tuple(meter.report() for meter in due))
            except Exception as error:  # the controller may be away, or be another one
                log.debug("a report of the load was lost: %r", error)
                for meter in due:
                    if meter in self._meters:
                        self.changed(meter)
                pauses = [(_LOST_S, self._urgent)]
            for pause_s, ended in pauses:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await ended.wait()
