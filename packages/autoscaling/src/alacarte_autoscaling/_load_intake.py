"""Receiver of the load reports of all processes, in the controller."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from alacarte.types import ProcessId

from ._load_reports import LoadReport

__all__ = ["LoadIntake"]


class LoadIntake:
    """Forwards load reports to the scaler. Reports before `forward_to` are dropped."""

    def __init__(self) -> None:
        self._receive: Callable[[str, Iterable[LoadReport]], None] | None = None

    def forward_to(self, receive: Callable[[str, Iterable[LoadReport]], None]) -> None:
        """Call `receive` with the name of the process and its reports, from now on."""
        self._receive = receive

    def report(self, process: ProcessId, value: Iterable[LoadReport]) -> None:
        """Forward the reports of a process."""
        if self._receive is not None:
            self._receive(process.name, value)

    def forget(self, process: ProcessId) -> None:
        """Do nothing: `LoadHistory` itself drops the load of a silent process."""
