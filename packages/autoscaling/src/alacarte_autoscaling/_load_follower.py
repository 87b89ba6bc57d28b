"""Target number of replicas of one deployment, as its load changes. Times are arguments.

The owner of a `LoadFollower` calls the policy: with the follower's `context`, and the follower
takes the decision.
"""

from __future__ import annotations

from alacarte.types import DeploymentId

from ._load_history import LoadHistory
from ._load_reports import LoadReport
from ._scaling_rule import Hysteresis, cold_start, next_step, within
from .config import AutoscalingConfig
from .types import AutoscalingContext

__all__ = ["LoadFollower"]

REPORTS_S = 10.0
"""Time within which every process with a load reports, since each reports every 5 s."""


class LoadFollower:
    """Load of one deployment, and its target number of replicas.

    Args:
        number: The initial number of replicas.
        now: The time, on the clock of all methods.
        resumed: Whether the deployment had an unknown load before `now`.

    Attributes:
        number: Target number of replicas, within the bounds.
        running: Number of running replicas.
    """

    def __init__(
        self,
        deployment: DeploymentId,
        config: AutoscalingConfig,
        number: int,
        now: float,
        *,
        resumed: bool = False,
    ) -> None:
        self.deployment = deployment
        self.config = config
        self.number = within(config, number)
        self.running = 0
        self._history = LoadHistory(config.look_back_period_s, now)
        self._hysteresis = Hysteresis()
        self._due: float | None = None
        self._blind_until = now + REPORTS_S if resumed else now
        self._up_at: float | None = None
        self._down_at: float | None = None

    def configure(self, config: AutoscalingConfig, number: int, now: float) -> None:
        """Continue with another configuration, from `number` replicas."""
        self._history.look_back(config.look_back_period_s, now)
        self.config = config
        self._hysteresis, self._due = Hysteresis(), None
        self.number = within(config, number)

    def report(self, process: str, report: LoadReport, now: float) -> None:
        """Add a process's report of its load."""
        self._history.add(process, report, now)

    @property
    def is_cold(self) -> bool:
        """Whether requests are queued and no replica is running. The policy is not called then."""
        return not self.running and bool(self._history.queued or self._history.running)

    def context(self, now: float, epoch_s: float = 0.0) -> AutoscalingContext:
        """Return the context for a policy's decision.

        Args:
            epoch_s: The difference between seconds since 1970 and the clock of the methods.
        """
        config = self.config
        total = self._history.load(config.aggregation_function, now)
        return AutoscalingContext(
            self.deployment,
            self.deployment.name,
            self.deployment.app,
            self.running,
            self.number,
            total,
            self._history.queued,
            self._history.running,
            config.min_replicas,
            config.max_replicas,
            config,
            now + epoch_s,
            None if self._up_at is None else self._up_at + epoch_s,
            None if self._down_at is None else self._down_at + epoch_s,
        )

    def cold_start(self, now: float) -> bool:
        """Scale up at once where requests are queued and no replica is running.

        Returns:
            Whether this was a cold start, in which the policy is not called.
        """
        self._history.forget(now)
        if not self.is_cold:
            return False
        self._go_to(cold_start(self.config, self.number), now)
        self._hysteresis, self._due = Hysteresis(), None
        return True

    def apply(self, decision: float, now: float) -> None:
        """Apply a policy's decision: change `number` where delays and bounds allow."""
        step = next_step(
            self.config,
            decision,
            target=self.number,
            running=self.running,
            hysteresis=self._hysteresis,
            now=now,
        )
        self._hysteresis, self._due = step.hysteresis, step.due
        if step.number < self.number and now < self._blind_until:
            self._due = self._blind_until
            return
        self._go_to(step.number, now)

    def next_wakeup(self, now: float) -> float | None:
        """Return when the number may change without a report, None for never."""
        moments = [self._history.next_change(now), self._due]
        return min((moment for moment in moments if moment is not None), default=None)

    def rests(self, now: float) -> bool:
        """Return whether the number stays the same while the load and the replicas do."""
        return self._due is None and self._history.steady(now)

    def _go_to(self, number: int, now: float) -> None:
        if number > self.number:
            self._up_at = now
        elif number < self.number:
            self._down_at = now
        self.number = number
