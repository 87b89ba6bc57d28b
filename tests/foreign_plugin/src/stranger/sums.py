"""Sums of the counts of all processes, in the controller."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from alacarte.types import ProcessId

__all__ = ["Sums", "sums"]


class Sums:
    """The receiver of each process's growing counts."""

    def __init__(self) -> None:
        self._living: dict[ProcessId, Counter[str]] = {}
        self._ended: Counter[str] = Counter()

    @property
    def total(self) -> Counter[str]:
        """The counts of all processes, including ended processes."""
        return sum(self._living.values(), self._ended)

    def report(self, process: ProcessId, value: Mapping[str, int]) -> None:
        self._living[process] = Counter(value)

    def forget(self, process: ProcessId) -> None:
        self._ended += self._living.pop(process)


sums = Sums()
"""The receiver of this process's controller."""
