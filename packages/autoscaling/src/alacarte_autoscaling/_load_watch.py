"""Measures the load of a deployment in a process that calls it, and reports it."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable

from alacarte.types import CallerLoad, DeploymentId, Runtime

from ._load_meter import LoadMeter
from ._load_reporter import LoadReporter
from ._load_reports import LOADS_TOPIC, LoadReport

__all__ = ["MeteredLoad", "reporter_of"]

_reporters: weakref.WeakKeyDictionary[Runtime, LoadReporter] = weakref.WeakKeyDictionary()


def reporter_of(runtime: Runtime) -> LoadReporter:
    """Return the reporter of a process: the loads of all deployments go in one message."""
    reporter = _reporters.get(runtime)
    if reporter is None:
        to = weakref.ref(runtime)  # a strong one would keep the runtime, as the key of its reporter

        async def send(reports: tuple[LoadReport, ...]) -> None:
            found = to()
            assert found is not None
            await found.send_report(LOADS_TOPIC, reports)

        reporter = _reporters[runtime] = LoadReporter(send)
    return reporter


class MeteredLoad:
    """A `LoadWatch`: meters the load and tells the reporter of changes.

    Args:
        clock: Seconds, never going back; `time.monotonic` when None.
    """

    def __init__(
        self,
        deployment: DeploymentId,
        load: CallerLoad,
        reporter: LoadReporter,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._load = load
        self._reporter = reporter
        self._meter = LoadMeter(deployment, clock or time.monotonic)
        self._meter.change(load.queued, load.in_flight)
        reporter.add(self._meter)

    def changed(self) -> None:
        """Take in the load as it is: urgent when calls begin to wait and no replica is there."""
        load, meter = self._load, self._meter
        queued = load.queued
        waits_for_none = bool(queued) and not meter.queued and not load.replicas
        meter.change(queued, load.in_flight)
        self._reporter.changed(meter, urgent=waits_for_none)

    def close(self) -> None:
        """Report the load no more."""
        self._reporter.discard(self._meter)
