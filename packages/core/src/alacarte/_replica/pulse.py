"""What a replica's process tells of itself, whatever user code is busy with."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Pulse"]


@dataclass(frozen=True)
class Pulse:
    """A replica at one moment.

    Attributes:
        loop_age_s: Seconds since its event loop last turned.
        ongoing: Requests it is working on.
        abandoned: Slots held by sync code whose request was given up.
        max_ongoing: Slots it has.
        leaving: It has been told to stop.
    """

    loop_age_s: float
    ongoing: int
    abandoned: int
    max_ongoing: int
    leaving: bool = False
