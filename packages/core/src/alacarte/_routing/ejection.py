"""Which replicas are left out for a while, and for how long. Pure: values in, values out.

A replica is left out while it answers nothing at all, and for a time that grows after it has
failed several times in a row. What user code raises never counts. However many fail, at least
half of those that are connected stay: when everything seems broken, it is not the replicas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

__all__ = [
    "BASE_S", "FAILURES", "FORGIVE_S", "LONGEST_S", "Hold", "Record", "first_back", "most_out",
]  # fmt: skip

FAILURES = 3
"""Failures in a row after which a replica is left out."""
BASE_S = 1.0
"""For how long the first time; each further time twice as long as before."""
LONGEST_S = 30.0
FORGIVE_S = 60.0
"""Without any failure for so long, one former time is forgotten."""

T = TypeVar("T")


class Record:
    """What has gone wrong between this process and one replica.

    Failures are those of the transport: a connection lost with calls in flight, or a call whose
    time ran out while the replica answered not even a PING.

    Attributes:
        until: It is left out until then; -inf before the first time.
    """

    __slots__ = ("_failures", "_last", "_times", "until")

    def __init__(self) -> None:
        self.until = float("-inf")
        self._failures = 0
        self._times = 0
        self._last = float("-inf")

    def failed(self, now: float, drawn: float) -> bool:
        """Note a failure; return whether the replica is left out from now on.

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
class Hold:
    """Why a replica is out: `silent` until it answers, otherwise until a time."""

    silent: bool
    until: float


def most_out(connected: int) -> int:
    """Return how many of so many connected replicas may be out at once."""
    return connected // 2


def first_back(holds: Mapping[T, Hold]) -> T:
    """Return who is let in again when too many are out: who answers, and is due next."""
    return min(holds, key=lambda each: holds[each])
