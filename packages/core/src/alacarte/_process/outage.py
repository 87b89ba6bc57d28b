"""How long a process waits for a controller that is away, and when its instance has ended. Pure.

A cluster keeps the name of an actor that it restarts, and forgets that of one that is gone for
good. So the name tells which of the two it is: the first is waited for, however slow the machine.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["AT_ONCE", "JOINING", "PATIENT", "Absence", "EndWatch", "Outage", "Patience", "Sighting"]

log = logging.getLogger("alacarte")
_RESTART_S = 300.0
"""A controller that the cluster has restarted for so long without an answer never comes up."""
_FIRST_WORD_S = 2.0
_RETRY_S = (0.1, 0.1, 0.1, 0.2, 0.5, 1.0)
_GONE_AFTER = 3
"""How often in a row the controller's name must be unknown: one that restarts keeps its name."""


class Absence(enum.Enum):
    """Why a controller does not answer."""

    RESTARTING = "its process has ended, and its name is known"
    GONE = "its name is unknown, or it has no instance"
    CLUSTER_SILENT = "the cluster itself does not answer"


@dataclass(frozen=True)
class Patience:
    """How long a caller waits for the controller, by the reason of its absence, in seconds.

    Attributes:
        restart_s: For one that the cluster restarts.
        gone_s: For a name that is not known: another driver may be starting an instance just now.
        cluster_s: For a cluster that does not answer itself.
    """

    restart_s: float = _RESTART_S
    gone_s: float = 3.0
    cluster_s: float = 15.0

    def limit_s(self, absence: Absence) -> float:
        """Return how long to wait."""
        limits_s = {
            Absence.RESTARTING: self.restart_s,
            Absence.GONE: self.gone_s,
            Absence.CLUSTER_SILENT: self.cluster_s,
        }
        return limits_s[absence]


PATIENT = Patience()
"""For a driver: its user waits."""
JOINING = Patience(gone_s=0.0)
"""To find out whether there is an instance."""
AT_ONCE = Patience(0.0, 0.0, 0.0)
"""For a caller that asks again by itself."""


class Outage:
    """The time from a controller's first failure to its next answer.

    Args:
        now: When it began, by the clock of the calls that follow.
    """

    def __init__(self, now: float, patience: Patience = PATIENT) -> None:
        self._patience = patience
        self._began_at = self._since = now
        self._absence: Absence | None = None
        self._attempts = 0
        self._told_at = now

    def failed(self, absence: Absence, now: float) -> float | None:
        """Return the pause before the next attempt, in seconds; None to give up."""
        if absence is not self._absence:
            self._absence, self._since = absence, now
        limit_s = self._patience.limit_s(absence)
        if now - self._since >= limit_s or now - self._began_at >= _RESTART_S:
            return None
        pause_s = _RETRY_S[min(self._attempts, len(_RETRY_S) - 1)]
        self._attempts += 1
        return pause_s

    def tell(self, now: float, say: Callable[[str], None] = log.warning) -> None:
        """Say that the controller is waited for, after ever longer pauses."""
        waited_s = now - self._began_at
        if self._absence is Absence.RESTARTING and waited_s >= max(
            _FIRST_WORD_S, 2 * (self._told_at - self._began_at)
        ):
            self._told_at = now
            say(
                f"the controller's process has ended, and the cluster restarts it; waited "
                f"{waited_s:.0f} s so far (at most {self._patience.restart_s:.0f} s)"
            )

    def ended(self, now: float, say: Callable[[str], None] = log.info) -> None:
        """Say that the controller is back, if it was said that it was away."""
        if self._told_at > self._began_at:
            say(f"the controller is back after {now - self._began_at:.0f} s")


class Sighting(enum.Enum):
    """What a process finds in the place of its instance's controller."""

    OURS = "the controller of this instance"
    OTHERS = "a controller of another instance, or of none"
    NOBODY = "no controller"
    UNKNOWN = "no answer"


class EndWatch:
    """Decides by sightings of the controller whether its instance has ended."""

    def __init__(self) -> None:
        self._unseen = 0

    def saw(self, sighting: Sighting) -> bool:
        """Return whether the instance has ended."""
        self._unseen = self._unseen + 1 if sighting is Sighting.NOBODY else 0
        return sighting is Sighting.OTHERS or self._unseen >= _GONE_AFTER
