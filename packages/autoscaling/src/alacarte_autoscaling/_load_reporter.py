"""Reporter of the load that this process puts on deployments, to the controller."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from ._load_meter import LoadMeter
from ._load_reports import LoadReport

__all__ = ["LoadReporter"]

log = logging.getLogger("alacarte.autoscaling")
_MIN_PERIOD_S = 0.1
"""Minimum time between reports of a rising load."""
_CHANGE_PERIOD_S = 1.0
"""Time between reports of a load that changes without rising; each report has the mean."""
_KEEPALIVE_S = 5.0
"""Time between reports of a constant load, so that the controller keeps the load."""
_RETRY_BACKOFF_S = 1.0


class LoadReporter:
    """Sends load reports of all deployments in one message, at a limited rate.

    Args:
        send: Sends reports; after an error, the reports are sent again.
    """

    def __init__(self, send: Callable[[tuple[LoadReport, ...]], Awaitable[object]]) -> None:
        self._send = send
        self._meters: set[LoadMeter] = set()
        self._due: set[LoadMeter] = set()
        self._changed = asyncio.Event()
        self._urgent = asyncio.Event()
        self._risen = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def add(self, meter: LoadMeter) -> None:
        """Start to report the load of a meter."""
        self._meters.add(meter)
        self.changed(meter)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def discard(self, meter: LoadMeter) -> None:
        """Stop reporting the load of a meter."""
        self._meters.discard(meter)
        self._due.discard(meter)
        if not self._meters:
            self.close()

    def changed(self, meter: LoadMeter, *, urgent: bool = False) -> None:
        """Report a meter's change; at once where `urgent`, for a queued call without a replica."""
        self._due.add(meter)
        self._changed.set()
        if urgent:
            self._urgent.set()
        if urgent or meter.has_risen:
            self._risen.set()

    def close(self) -> None:
        """Stop sending reports."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        sent_at = loop.time()
        while True:
            busy = any(meter.total for meter in self._meters)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(sent_at + _KEEPALIVE_S if busy else None):
                    await self._changed.wait()
            sent_at = loop.time()
            if not self._due:
                self._due |= {meter for meter in self._meters if meter.total}
            due = list(self._due)
            self._due.clear()
            self._changed.clear()
            self._urgent.clear()
            self._risen.clear()
            pauses = [
                (_MIN_PERIOD_S, self._urgent),
                (_CHANGE_PERIOD_S - _MIN_PERIOD_S, self._risen),
            ]
            try:
                await self._send(tuple(meter.report() for meter in due))
            except Exception as error:  # the controller may be restarting
                log.debug("a load report was lost: %r", error)
                for meter in due:
                    if meter in self._meters:
                        self.changed(meter)
                pauses = [(_RETRY_BACKOFF_S, self._urgent)]
            for pause_s, wakeup in pauses:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await wakeup.wait()
