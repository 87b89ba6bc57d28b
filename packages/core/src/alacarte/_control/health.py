"""Health of a running replica, from the outcomes of its checks. Pure.

A replica is unhealthy, and is replaced after its successor has started, for one of four reasons:

- *user's check*: `check_health` raised or timed out, three times in a row;
- *event loop*: the loop was blocked, three times in a row; its log names the blocking code;
- *progress*: sync code of cancelled requests held every slot, three times in a row;
- *process*: the process does not answer probes, found within seconds of a caller's report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..actors import Liveness

__all__ = [
    "MAX_FAILED_CHECKS",
    "Health",
    "after_failure",
    "after_success",
    "judge",
    "next_check_s",
    "out_of_rotation",
]

MAX_FAILED_CHECKS = 3
"""Consecutive failed checks after which a replica is replaced; Ray Serve's number."""
_DEGRADED_AFTER = 2
"""Consecutive failed checks after which a replica gets no requests, if others can take them."""


@dataclass(frozen=True)
class Health:
    """Result of a replica's health checks.

    Attributes:
        failed_in_a_row: Consecutive failed checks.
        message: Error of the last check, "" if it passed.
    """

    failed_in_a_row: int = 0
    message: str = ""

    @property
    def is_healthy(self) -> bool:
        """Whether the replica may stay."""
        return self.failed_in_a_row < MAX_FAILED_CHECKS

    @property
    def is_degraded(self) -> bool:
        """Whether requests should go to other replicas."""
        return self.failed_in_a_row >= _DEGRADED_AFTER


def after_success(health: Health) -> Health:
    """Return the health after a check that passed."""
    return replace(health, failed_in_a_row=0, message="")


def after_failure(health: Health, message: str) -> Health:
    """Return the health after a failed check."""
    return replace(health, failed_in_a_row=health.failed_in_a_row + 1, message=message)


def next_check_s(period_s: float, elapsed_s: float) -> float:
    """Return the seconds until the next check. Periods run from start to start.

    So a check that hangs until its timeout does not delay the next one by a whole period.

    Args:
        period_s: Time between the starts of two checks.
        elapsed_s: Time since the start of the last check.
    """
    return max(period_s - elapsed_s, 0.0)


def judge(liveness: Liveness, limit_s: float) -> str:
    """Return the problem of a replica that answers, "" for a healthy one.

    Args:
        limit_s: Longest time that the replica's event loop may be blocked.
    """
    if liveness.loop_age_s > limit_s:
        return f"its event loop has been blocked for {liveness.loop_age_s:.0f} s"
    if liveness.abandoned >= liveness.max_ongoing:
        return (
            f"all its {liveness.max_ongoing} threads are busy with cancelled requests, so it "
            "accepts no other request"
        )
    return ""


def out_of_rotation(is_degraded: Sequence[bool]) -> list[bool]:
    """Return for each replica whether to send it no requests: the degraded ones, or none.

    If more than half are degraded, the cause is most likely elsewhere (a dependency, for example),
    and the others must not carry the load of all. Envoy calls this the panic threshold.
    """
    if sum(is_degraded) * 2 > len(is_degraded):
        return [False] * len(is_degraded)
    return list(is_degraded)
