"""Plugin failures that the processes of the instance report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..status import PluginFailure
from ..types import ProcessId

__all__ = ["ReportedFailures"]


class ReportedFailures:
    """The `ReportReceiver` of the topic `plugin_failures`."""

    def __init__(self) -> None:
        self._by_process: dict[ProcessId, tuple[PluginFailure, ...]] = {}

    def report(self, process: ProcessId, value: tuple[PluginFailure, ...]) -> None:
        """Replace the failures of a process."""
        self._by_process[process] = tuple(replace(each, process=process.name) for each in value)

    def forget(self, process: ProcessId) -> None:
        """Drop the failures of a process that has ended."""
        self._by_process.pop(process, None)

    def all(self, own: Iterable[PluginFailure] = ()) -> tuple[PluginFailure, ...]:
        """Return all failures, the latest last.

        Args:
            own: Failures in the controller.
        """
        local = [replace(each, process="controller") for each in own]
        reported = [each for values in self._by_process.values() for each in values]
        return tuple(sorted([*local, *reported], key=lambda each: each.at))
