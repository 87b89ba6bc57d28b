"""History of a deployment's failures: the number of failed starts, and the backoff of the next.

Pure, but for the jitter of the backoff: times are arguments.
"""

from __future__ import annotations

import logging
import random
from collections import deque

from ..status import Failure

__all__ = ["FailureHistory", "first_line"]

log = logging.getLogger("alacarte.controller")
_EARLY_DEATH_S = 5.0
_RESET_AFTER_S = 30.0
_BACKOFF_S = (0.0, 0.0, 0.0, 0.2, 1.0, 5.0)
_JITTER = 0.25
_MAX_RECENT = 10


class FailureHistory:
    """Failures of one deployment's replicas.

    Attributes:
        failed_starts: Failed starts of the target version with the target settings, while no such
            replica has run. A version that has run is retried without end: its code works.
        message: The last failure of the target version, "" once the deployment is healthy.
    """

    def __init__(self) -> None:
        self.failed_starts = 0
        self.message = ""
        self._recent: deque[Failure] = deque(maxlen=_MAX_RECENT)
        self._has_run = False
        self._in_a_row = 0
        self._resume_at = 0.0

    @property
    def recent(self) -> tuple[Failure, ...]:
        """The last failures of any version, oldest first."""
        return tuple(self._recent)

    def pause_s(self, now: float) -> float:
        """Return the seconds until the next replica may start."""
        return max(self._resume_at - now, 0.0)

    def reset(self, *, is_new: bool) -> None:
        """Reset the counters: a driver has deployed the deployment again.

        Args:
            is_new: The version or the settings differ from the last ones.
        """
        if is_new:
            self._has_run = False
        self.failed_starts = 0
        self.message = ""
        self._in_a_row = 0
        self._resume_at = 0.0

    def record_run(self) -> None:
        """Record that a replica of the target version runs with the target settings."""
        self._has_run = True
        self.failed_starts = 0

    def record(self, failure: Failure) -> None:
        """Keep a failure for the status."""
        self._recent.append(failure)

    def count_failure(
        self, failure: Failure, subject: str, now: float, *, uptime_s: float, blames_target: bool
    ) -> None:
        """Count a failure of the target version, and log it unless `deploy` raises it.

        Args:
            subject: The deployment or replica, as the message names it.
            uptime_s: Seconds that the replica has run; 0 if it has not.
            blames_target: The target's code or settings are at fault, not older settings.
        """
        if failure.kind != "death" or 0 < uptime_s < _EARLY_DEATH_S:
            self._back_off(now)  # also for early deaths, or a crash loop would run without a pause
            if not self._has_run and blames_target:
                self.failed_starts += 1
        rest = f"\n{failure.traceback}" if failure.traceback else ""
        self.message = f"{subject}: {failure.message}{rest}"
        if self._has_run or failure.kind == "death":
            # The whole traceback only once: the next failures most likely repeat it.
            first = self._in_a_row <= 1
            log.warning("%s", self.message if first else first_line(self.message))
        else:
            log.debug("%s", self.message)

    def _back_off(self, now: float) -> None:
        """Delay the next start; the pause grows with consecutive failures."""
        if now - self._resume_at > _RESET_AFTER_S:
            self._in_a_row = 0
        self._in_a_row += 1
        pause_s = _BACKOFF_S[min(self._in_a_row - 1, len(_BACKOFF_S) - 1)]
        # Jitter, because other deployments may have failed for the same reason at the same time.
        self._resume_at = now + pause_s * random.uniform(1 - _JITTER, 1 + _JITTER)


def first_line(text: str) -> str:
    """Return the first line of a string."""
    return text.partition("\n")[0]
