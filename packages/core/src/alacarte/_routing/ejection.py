"""The rules of ejection: which replicas get no calls, and for how long. Pure.

A replica is ejected while it is unresponsive, and for a growing time after several consecutive
failures. Exceptions of user code are no failures. At least half of the connected replicas stay:
when more seem to fail, the cause is not the replicas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

__all__ = [
    "BASE_EJECTION_S", "DECAY_S", "FAILURE_THRESHOLD", "MAX_EJECTION_S", "Ejection",
    "FailureRecord", "first_restored", "max_ejected",
]  # fmt: skip

FAILURE_THRESHOLD = 3
"""Consecutive failures after which a replica is ejected."""
BASE_EJECTION_S = 1.0
"""Duration of the first ejection; each further ejection lasts twice as long."""
MAX_EJECTION_S = 30.0
DECAY_S = 60.0
"""Time without a failure after which one earlier ejection no longer counts."""

T = TypeVar("T")


class FailureRecord:
    """Transport failures between this process and one replica.

    A failure is a connection lost with calls in flight, or a call whose deadline passed while the
    replica did not even answer a PING.

    Attributes:
        until: End of the ejection; -inf before the first one.
    """

    __slots__ = ("_ejections", "_failures", "_last", "until")

    def __init__(self) -> None:
        self.until = float("-inf")
        self._failures = 0
        self._ejections = 0
        self._last = float("-inf")

    def failed(self, now: float, jitter: float) -> bool:
        """Record a failure; return whether it ejects the replica.

        Args:
            jitter: Random number from 0 to 1, so that processes do not all return at once.
        """
        if self._ejections:
            self._ejections -= min(self._ejections, int((now - self._last) / DECAY_S))
        self._last = now
        self._failures += 1
        if self._failures < FAILURE_THRESHOLD:
            return False
        self._failures = 0
        pause = min(BASE_EJECTION_S * 2.0**self._ejections, MAX_EJECTION_S)
        self._ejections = min(self._ejections + 1, 16)
        self.until = now + pause * (0.75 + jitter / 4)
        return True

    def succeeded(self) -> None:
        """Record an answered call, which ends a row of failures."""
        self._failures = 0


@dataclass(frozen=True, order=True)
class Ejection:
    """An ejection: of an `unresponsive` replica until it answers, otherwise until a time."""

    unresponsive: bool
    until: float


def max_ejected(connected: int) -> int:
    """Return the number of replicas that may be ejected of `connected` ones."""
    return connected // 2


def first_restored(ejections: Mapping[T, Ejection]) -> T:
    """Return the replica to restore first when too many are ejected: responsive, earliest end."""
    return min(ejections, key=lambda each: ejections[each])
