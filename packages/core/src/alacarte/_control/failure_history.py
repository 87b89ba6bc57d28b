"""The account of a deployment's failures: how many starts have failed, and when the next may be.

Pure, but for the jitter of its pauses: times come in as arguments.
"""

from __future__ import annotations

import logging
import random
from collections import deque

from ..status import Failure

__all__ = ["FailureHistory", "first_line"]

log = logging.getLogger("alacarte.controller")
_YOUNG_S = 5.0
_IN_A_ROW_S = 30.0
_BACKOFF_S = (0.0, 0.0, 0.0, 0.2, 1.0, 5.0)
_JITTER = 0.25
_MAX_RECENT = 10


class FailureHistory:
    """The failures of one deployment's replicas.

    Attributes:
        failed_starts: Of the wanted version with the wanted settings, as long as no replica of it
            has run. What has run before is tried for ever: its code is not what is broken.
        message: The last failure of the wanted version, "" once the deployment is healthy.
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
        """Return for how many seconds no replica is to be started."""
        return max(self._resume_at - now, 0.0)

    def forgive(self, *, is_new: bool) -> None:
        """Begin again: somebody has deployed the deployment.

        Args:
            is_new: With another version or other settings, which have not run yet.
        """
        if is_new:
            self._has_run = False
        self.failed_starts = 0
        self.message = ""
        self._in_a_row = 0
        self._resume_at = 0.0

    def note_run(self) -> None:
        """Note that a replica of the wanted version runs with the wanted settings."""
        self._has_run = True
        self.failed_starts = 0

    def note(self, failure: Failure) -> None:
        """Keep a failure for the status."""
        self._recent.append(failure)

    def charge(
        self, failure: Failure, subject: str, now: float, *, ran_s: float, blames_wanted: bool
    ) -> None:
        """Count a failure of the wanted version, and log it unless the deploying driver is told.

        Args:
            subject: Its deployment or replica, as the message names it.
            ran_s: For how long the replica has run; 0 where it has not.
            blames_wanted: The wanted code or settings are at fault, not those of before.
        """
        if failure.kind != "death" or 0 < ran_s < _YOUNG_S:
            self._back_off(now)  # or one that dies at once would be started without end
            if not self._has_run and blames_wanted:
                self.failed_starts += 1
        rest = f"\n{failure.traceback}" if failure.traceback else ""
        self.message = f"{subject}: {failure.message}{rest}"
        if self._has_run or failure.kind == "death":
            # The whole traceback once: the next tries will most likely repeat it.
            first = self._in_a_row <= 1
            log.warning("%s", self.message if first else first_line(self.message))
        else:
            log.debug("%s", self.message)

    def _back_off(self, now: float) -> None:
        """Let the next replica start after a pause that grows with failures in a row."""
        if now - self._resume_at > _IN_A_ROW_S:
            self._in_a_row = 0
        self._in_a_row += 1
        pause_s = _BACKOFF_S[min(self._in_a_row - 1, len(_BACKOFF_S) - 1)]
        # Apart from others that failed for the same reason at the same moment.
        self._resume_at = now + pause_s * random.uniform(1 - _JITTER, 1 + _JITTER)


def first_line(text: str) -> str:
    """Return a text up to its first line break."""
    return text.partition("\n")[0]
