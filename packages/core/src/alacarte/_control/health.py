"""When a replica that runs is no longer fit to: from the outcomes of its checks. Pure.

Four signals, told apart because each asks for something else:

- the *user's check* (`check_health`) raises: the replica is replaced, its successor first;
- the *event loop* does not beat: the same, and what blocks it is named in its log;
- *progress*: every slot is held by sync code of a request that was given up: the same;
- the *process* does not answer at all: the same, within seconds of a suspicion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..actors import Liveness

__all__ = [
    "FAILURES_IN_A_ROW",
    "Health",
    "after_failure",
    "after_success",
    "judge",
    "next_check_s",
    "resting",
]

FAILURES_IN_A_ROW = 3
"""Failed checks after which a replica is replaced; Ray Serve's number."""
_RESTS_AFTER = 2
"""Failed checks after which it gets no more requests, if others can take them."""


@dataclass(frozen=True)
class Health:
    """What a replica's checks have come to.

    Attributes:
        failed_in_a_row: Checks since the last good one.
        message: Why the last one failed, "" for a good one.
    """

    failed_in_a_row: int = 0
    message: str = ""

    @property
    def is_good(self) -> bool:
        """Whether it may stay."""
        return self.failed_in_a_row < FAILURES_IN_A_ROW

    @property
    def wants_rest(self) -> bool:
        """Whether requests should go to others meanwhile."""
        return self.failed_in_a_row >= _RESTS_AFTER


def after_success(health: Health) -> Health:
    """Return the health after a good check: all is forgotten."""
    return replace(health, failed_in_a_row=0, message="")


def after_failure(health: Health, message: str) -> Health:
    """Return the health after a failed check."""
    return replace(health, failed_in_a_row=health.failed_in_a_row + 1, message=message)


def next_check_s(period_s: float, elapsed_s: float) -> float:
    """Return how long to wait before the next check: periods run from start to start.

    A check that hangs until its time limit must not put off the next one by a whole period.

    Args:
        period_s: Between the starts of two checks.
        elapsed_s: Since the start of the last one.
    """
    return max(period_s - elapsed_s, 0.0)


def judge(liveness: Liveness, limit_s: float) -> str:
    """Return what is wrong with a replica that answers, "" for nothing.

    Args:
        limit_s: How long its loop may stand still.
    """
    if liveness.loop_age_s > limit_s:
        return f"its event loop has been blocked for {liveness.loop_age_s:.0f} s"
    if liveness.abandoned >= liveness.max_ongoing:
        return (
            f"all its {liveness.max_ongoing} threads are busy with requests that were given up, "
            "so it can take no other"
        )
    return ""


def resting(in_doubt: Sequence[bool]) -> list[bool]:
    """Return which replicas get no requests for now: those in doubt, but never more than half.

    When most of them fail, the fault is most likely none of theirs (a dependency, say), and half
    of them must not carry the load of all (Envoy calls it panic).
    """
    if sum(in_doubt) * 2 > len(in_doubt):
        return [False] * len(in_doubt)
    return list(in_doubt)
