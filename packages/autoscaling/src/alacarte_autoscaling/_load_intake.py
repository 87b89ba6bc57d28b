"""The receiver of the loads that processes report, between them and the autoscaling."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from alacarte.types import ProcessId

from ._load_reports import LoadReport

__all__ = ["LoadIntake"]


class LoadIntake:
    """Passes the load reports of each process on. Those that come before `pass_on` are dropped."""

    def __init__(self) -> None:
        self._take: Callable[[str, Iterable[LoadReport]], None] | None = None

    def pass_on(self, take: Callable[[str, Iterable[LoadReport]], None]) -> None:
        """Call `take` with the name of a process and its reports, from now on."""
        self._take = take

    def report(self, process: ProcessId, value: Iterable[LoadReport]) -> None:
        if self._take is not None:
            self._take(process.name, value)

    def forget(self, process: ProcessId) -> None:
        """Do nothing: the history of a load ends a silent process's part of it by itself."""
