"""Routing policy by a peak-sensitive moving average of call durations."""

from __future__ import annotations

import math
from collections.abc import Sequence

from alacarte.types import WAIT, Call, Outcome, Pick, PolicyContext, ReplicaLoad, Shed, Wait

__all__ = ["PeakEwma"]

_FAILURES = ("error", "lost", "unanswered")
_MIN_COST_S = 1e-6
"""Cost of a new replica: it is tried first, but its calls in flight count."""


class _Cost:
    """The expected duration of one replica's calls."""

    __slots__ = ("at", "value_s")

    def __init__(self, at: float) -> None:
        self.value_s = 0.0
        self.at = at

    def update(self, seconds: float, now: float, decay_s: float) -> None:
        """Add the duration of a call: a longer one at once, a shorter one gradually."""
        weight = math.exp((self.at - now) / decay_s)
        if seconds > self.value_s:
            self.value_s = seconds
        else:
            self.value_s = self.value_s * weight + seconds * (1.0 - weight)
        self.at = now


class PeakEwma:
    """The policy of one router.

    Args:
        context: Clock and parameters; the parameters are a `PeakEwmaParameters`.
    """

    def __init__(self, context: PolicyContext) -> None:
        self._clock = context.clock
        self._decay_s: float = context.parameters.decay_s
        self._failure_s: float = context.parameters.failure_s
        self._costs: dict[ReplicaLoad, _Cost] = {}

    def choose(self, call: Call, replicas: Sequence[ReplicaLoad]) -> Pick | Wait | Shed:
        free = [replica for replica in replicas if replica.free]
        if not free:
            return WAIT
        now = self._clock()
        return min(free, key=lambda replica: self._expected_s(replica, now))

    def finished(self, call: Call, replica: ReplicaLoad, outcome: Outcome) -> None:
        if outcome.kind in ("rejected", "cancelled"):
            return  # neither has the duration of a whole call
        seconds = outcome.total_s
        if outcome.kind in _FAILURES:
            seconds = max(seconds, self._failure_s)
        now = self._clock()
        cost = self._costs.get(replica)
        if cost is None:
            cost = self._costs[replica] = _Cost(now)
        cost.update(seconds, now, self._decay_s)

    def left(self, replica: ReplicaLoad) -> None:
        self._costs.pop(replica, None)

    def _expected_s(self, replica: ReplicaLoad, now: float) -> float:
        cost = self._costs.get(replica)
        # The cost of an unused replica decays, so that it is tried again.
        known = 0.0 if cost is None else cost.value_s * math.exp((cost.at - now) / self._decay_s)
        return max(known, _MIN_COST_S) * (max(replica.in_flight, replica.reported) + 1)
