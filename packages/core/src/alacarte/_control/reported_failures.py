"""What plugins failed at in the processes of the instance, as they report it."""

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
        """Take the failures of a process, in place of those that it reported before."""
        self._by_process[process] = tuple(replace(each, process=process.name) for each in value)

    def forget(self, process: ProcessId) -> None:
        """Forget a process that has ended."""
        self._by_process.pop(process, None)

    def all(self, own: Iterable[PluginFailure] = ()) -> tuple[PluginFailure, ...]:
        """Return all failures, the latest last.

        Args:
            own: Those of the controller itself.
        """
        mine = [replace(each, process="controller") for each in own]
        reported = [each for values in self._by_process.values() for each in values]
        return tuple(sorted([*mine, *reported], key=lambda each: each.at))
