"""Which replicas are ejected, and for how long. Pure: values in, values out.

A replica is ejected while it answers nothing at all, and for a time that grows after several
failures in a row. Exceptions of user code never count. However many replicas fail, at least half
of the connected ones stay: when everything seems broken, the replicas are not the cause.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

__all__ = [
    "BASE_S", "FAILURES", "FORGIVE_S", "LONGEST_S", "Ejection", "Record", "first_restored",
    "max_ejected",
]  # fmt: skip

FAILURES = 3
"""Failures in a row after which a replica is ejected."""
BASE_S = 1.0
"""Length of the first ejection; each further one is twice as long as the one before."""
LONGEST_S = 30.0
FORGIVE_S = 60.0
"""After so long without any failure, one former ejection is forgotten."""

T = TypeVar("T")


class Record:
    """What has gone wrong between this process and one replica.

    Failures are those of the transport: a connection lost with calls in flight, or a call whose
    time ran out while the replica answered not even a PING.

    Attributes:
        until: When the ejection ends; -inf before the first one.
    """

    __slots__ = ("_failures", "_last", "_times", "until")

    def __init__(self) -> None:
        self.until = float("-inf")
        self._failures = 0
        self._times = 0
        self._last = float("-inf")

    def failed(self, now: float, drawn: float) -> bool:
        """Note a failure; return whether the replica is ejected from now on.

        Args:
            drawn: From 0 to 1, at random: processes that saw the same do not return as one.
        """
        if self._times:
            self._times -= min(self._times, int((now - self._last) / FORGIVE_S))
        self._last = now
        self._failures += 1
        if self._failures < FAILURES:
            return False
        self._failures = 0
        pause = min(BASE_S * 2.0**self._times, LONGEST_S)
        self._times = min(self._times + 1, 16)
        self.until = now + pause * (0.75 + drawn / 4)
        return True

    def answered(self) -> None:
        """A call has come back: what failed before it was not in a row."""
        self._failures = 0


@dataclass(frozen=True, order=True)
class Ejection:
    """Why a replica is ejected: `silent` until it answers, otherwise until a time."""

    silent: bool
    until: float


def max_ejected(connected: int) -> int:
    """Return how many of so many connected replicas may be ejected at once."""
    return connected // 2


def first_restored(ejections: Mapping[T, Ejection]) -> T:
    """Return the replica to restore when too many are ejected: one that answers and is due."""
    return min(ejections, key=lambda each: ejections[each])
