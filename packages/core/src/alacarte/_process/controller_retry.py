"""Retries of controller calls, and detection of the end of an instance. Pure.

The cluster keeps the name of an actor that it restarts, and drops the name of one that is gone. So
a known name means a restart, which may take minutes on a slow machine.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from dataclasses import dataclass

__all__ = [
    "DRIVER_LIMITS",
    "JOIN_LIMITS",
    "NO_RETRY",
    "EndDetector",
    "FailureCause",
    "ProbeResult",
    "RetryLimits",
    "RetryState",
]

log = logging.getLogger("alacarte")
_RESTART_S = 300.0
"""Limit of a restart: a controller that has not answered for so long never comes up."""
_FIRST_LOG_S = 2.0
_RETRY_BACKOFF_S = (0.1, 0.1, 0.1, 0.2, 0.5, 1.0)
_MAX_MISSING = 3
"""Consecutive probes that must not find the controller's name: a restart keeps the name."""


class FailureCause(enum.Enum):
    """Why a controller does not answer."""

    RESTARTING = "its process has ended, and the cluster knows its name"
    GONE = "its name is unknown, or it has no instance"
    CLUSTER_UNRESPONSIVE = "the cluster does not answer"


@dataclass(frozen=True)
class RetryLimits:
    """Time that a caller retries, in seconds, by the cause of the failure.

    Attributes:
        restart_s: Limit while the cluster restarts the controller.
        gone_s: Limit for an unknown name: another driver may be starting an instance.
        cluster_s: Limit for an unresponsive cluster.
    """

    restart_s: float = _RESTART_S
    gone_s: float = 3.0
    cluster_s: float = 15.0

    def limit_s(self, cause: FailureCause) -> float:
        """Return the limit for a cause."""
        limits_s = {
            FailureCause.RESTARTING: self.restart_s,
            FailureCause.GONE: self.gone_s,
            FailureCause.CLUSTER_UNRESPONSIVE: self.cluster_s,
        }
        return limits_s[cause]


DRIVER_LIMITS = RetryLimits()
"""For drivers, whose users wait."""
JOIN_LIMITS = RetryLimits(gone_s=0.0)
"""For the check whether an instance runs."""
NO_RETRY = RetryLimits(0.0, 0.0, 0.0)
"""For callers that retry by themselves."""


class RetryState:
    """Retry state of one outage: from the controller's first failure to its next answer.

    Args:
        now: Time of the first failure, on the clock of the later calls.
    """

    def __init__(self, now: float, limits: RetryLimits = DRIVER_LIMITS) -> None:
        self._limits = limits
        self._began_at = self._since = now
        self._cause: FailureCause | None = None
        self._attempts = 0
        self._logged_at = now

    def next_pause_s(self, cause: FailureCause, now: float) -> float | None:
        """Return the seconds until the next attempt after a failure; None to give up."""
        if cause is not self._cause:
            self._cause, self._since = cause, now
        limit_s = self._limits.limit_s(cause)
        if now - self._since >= limit_s or now - self._began_at >= _RESTART_S:
            return None
        pause_s = _RETRY_BACKOFF_S[min(self._attempts, len(_RETRY_BACKOFF_S) - 1)]
        self._attempts += 1
        return pause_s

    def log_waiting(self, now: float, write: Callable[[str], None] = log.warning) -> None:
        """Log that the call waits for the controller, with exponential pauses between lines."""
        waited_s = now - self._began_at
        if self._cause is FailureCause.RESTARTING and waited_s >= max(
            _FIRST_LOG_S, 2 * (self._logged_at - self._began_at)
        ):
            self._logged_at = now
            write(
                f"the controller's process has ended, and the cluster restarts it; waited "
                f"{waited_s:.0f} s so far (at most {self._limits.restart_s:.0f} s)"
            )

    def log_recovered(self, now: float, write: Callable[[str], None] = log.info) -> None:
        """Log that the controller is back, if `log_waiting` has logged the outage."""
        if self._logged_at > self._began_at:
            write(f"the controller is back after {now - self._began_at:.0f} s")


class ProbeResult(enum.Enum):
    """Result of a search for the controller."""

    SAME_INSTANCE = "the controller of this instance"
    OTHER_INSTANCE = "a controller of another instance, or of none"
    NOT_FOUND = "no controller"
    UNKNOWN = "no answer"


class EndDetector:
    """Detects the end of an instance from consecutive probe results."""

    def __init__(self) -> None:
        self._missing = 0

    def observe(self, result: ProbeResult) -> bool:
        """Return whether the instance has ended."""
        self._missing = self._missing + 1 if result is ProbeResult.NOT_FOUND else 0
        return result is ProbeResult.OTHER_INSTANCE or self._missing >= _MAX_MISSING
