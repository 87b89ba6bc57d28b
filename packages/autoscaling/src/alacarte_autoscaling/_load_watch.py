"""Watch of the load that this process puts on a deployment, for the load reports."""

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
    """Return the reporter of a process, which sends the loads of all deployments in one message."""
    reporter = _reporters.get(runtime)
    if reporter is None:
        reference = weakref.ref(runtime)  # a strong reference would keep the dictionary's key alive

        async def send(reports: tuple[LoadReport, ...]) -> None:
            found = reference()
            assert found is not None
            await found.send_report(LOADS_TOPIC, reports)

        reporter = _reporters[runtime] = LoadReporter(send)
    return reporter


class MeteredLoad:
    """A `LoadWatch` that meters the load and passes changes to the reporter.

    Args:
        clock: A monotonic clock, in seconds; `time.monotonic` when None.
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
        """Update the meter; the change is urgent for a first queued call without any replica."""
        load, meter = self._load, self._meter
        queued = load.queued
        is_cold = bool(queued) and not meter.queued and not load.replicas
        meter.change(queued, load.in_flight)
        self._reporter.changed(meter, urgent=is_cold)

    def close(self) -> None:
        """Stop reporting the load."""
        self._reporter.discard(self._meter)
