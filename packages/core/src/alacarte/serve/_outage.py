"""How long a driver waits for a controller that is away, and what it says meanwhile.

A cluster keeps the name of an actor that it restarts, and forgets that of one that is gone for
good. So the name tells which of the two it is: the first is waited for, however slow the machine.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

__all__ = ["Outage"]

log = logging.getLogger("alacarte")
_RESTART_S = 300.0
"""A controller that the cluster has restarted for so long without an answer never comes up."""
_GONE_S = 3.0
"""For a name that is not known: another driver may be starting an instance just now."""
_SILENT_S = 15.0
"""For a cluster that does not answer itself."""
_FIRST_WORD_S = 2.0
_RETRY_S = (0.1, 0.1, 0.1, 0.2, 0.5, 1.0)

_LIMITS_S = {"restarting": _RESTART_S, "gone": _GONE_S, "silent": _SILENT_S}


class Outage:
    """The time from a controller's first failure to its next answer.

    Args:
        now: When it began, by the clock of the calls that follow.
        restart_s: How long to wait for a restart.
    """

    def __init__(self, now: float, restart_s: float = _RESTART_S) -> None:
        self._limits_s = _LIMITS_S | {"restarting": restart_s}
        self._began_at = self._since = now
        self._kind = ""
        self._attempts = 0
        self._told_at = now

    def failed(self, kind: str, now: float) -> float | None:
        """Return the pause before the next attempt, in seconds; None to give up.

        Args:
            kind: `"restarting"`, `"gone"` or `"silent"`.
        """
        if kind != self._kind:
            self._kind, self._since = kind, now
        if now - self._since >= self._limits_s[kind] or now - self._began_at >= _RESTART_S:
            return None
        pause_s = _RETRY_S[min(self._attempts, len(_RETRY_S) - 1)]
        self._attempts += 1
        return pause_s

    def tell(self, now: float, say: Callable[[str], None] = log.warning) -> None:
        """Say that the controller is waited for, after ever longer pauses."""
        waited_s = now - self._began_at
        if self._kind == "restarting" and waited_s >= max(
            _FIRST_WORD_S, 2 * (self._told_at - self._began_at)
        ):
            self._told_at = now
            say(
                f"the controller's process has ended, and the cluster restarts it; waited "
                f"{waited_s:.0f} s so far (at most {self._limits_s['restarting']:.0f} s)"
            )

    def ended(self, now: float, say: Callable[[str], None] = log.info) -> None:
        """Say that the controller is back, if it was said that it was away."""
        if self._told_at > self._began_at:
            say(f"the controller is back after {now - self._began_at:.0f} s")
