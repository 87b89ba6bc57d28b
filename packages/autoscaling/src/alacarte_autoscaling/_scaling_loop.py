"""Autoscaling loop: track the load of each deployment, call its policy, and set its count.

The loop does not poll. A deployment is refreshed when its load or its replicas change, when a delay
ends, and while its load over the window changes; a steady deployment costs nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from alacarte.aio import TaskSet
from alacarte.errors import ConfigError, ServeError
from alacarte.foreign import describe_error
from alacarte.types import DeploymentId, UserCode

from ._custom_policies import CustomPolicies, PolicyFailure
from ._load_follower import LoadFollower
from ._load_reports import LoadReport
from ._policy_protocol import CustomPolicy
from ._scaling_rule import InvalidDecision, parse_decision
from .config import AutoscalingConfig, AutoscalingPolicy
from .types import AutoscalingContext, ScalingPolicy, ScalingPolicyFactory

__all__ = ["Policies", "ScaledDeployment", "ScalingLoop", "check_policy"]

log = logging.getLogger("alacarte.controller")
MIN_REFRESH_PERIOD_S = 0.1
"""Minimum time between two refreshes of a deployment for load reports."""
CUSTOM_PERIOD_S = 1.0
"""Period of decisions of a user's policy under a constant load."""
_MIN_DELAY_S = 0.001
_RETRY_BACKOFF_S = (1.0, 2.0, 5.0, 15.0, 30.0)
"""Delays after consecutive failures of a policy."""


@dataclass(frozen=True)
class ScaledDeployment:
    """An autoscaled deployment.

    Attributes:
        id: Application and name.
        config: The deployment's option, with the name of the policy.
        code: The code of a user's policy; None for the policy of a plugin.
    """

    id: DeploymentId
    config: AutoscalingConfig
    code: UserCode | None = None


Policies = Mapping[str, ScalingPolicyFactory]
"""Policies of plugins, by name."""


def check_policy(deployment: ScaledDeployment, policies: Policies) -> None:
    """Check the policy of a deployment.

    Raises:
        ConfigError: No plugin registers the policy, or the policy refuses its arguments.
    """
    if deployment.code is None:
        _registered_policy(deployment.id, deployment.config, policies)


@dataclass(eq=False)
class _Scaled:
    """State of an autoscaled deployment.

    Attributes:
        fingerprint: The user's option `policy`, and the code of a user's policy.
        policy: The policy of a plugin or a user.
        period_s: Maximum time between two decisions; None for decisions on changes only.
        state: The state that a plugin's policy has returned with its decision.
        retry_at: Time until which a failed policy is not called.
        is_outdated: Whether the load or the replicas changed during the pending decision.
    """

    follower: LoadFollower
    fingerprint: tuple[AutoscalingPolicy, UserCode | None]
    policy: ScalingPolicy | CustomPolicy
    period_s: float | None
    state: Mapping[str, object] = field(default_factory=dict)
    refreshed_at: float = float("-inf")
    failures: int = 0
    retry_at: float = float("-inf")
    timer: asyncio.TimerHandle | None = None
    deciding: asyncio.Task[None] | None = None
    is_outdated: bool = False


class ScalingLoop:
    """The autoscaled deployments of an instance. Runs on the controller's event loop.

    Args:
        policies: Policies of plugins.
        changed: Called with each new number of replicas.
        custom: Runs policies of users.

    Attributes:
        problems: Failures of policies, by deployment.
    """

    def __init__(
        self,
        policies: Policies,
        changed: Callable[[DeploymentId, int], None],
        custom: CustomPolicies,
    ) -> None:
        self._policies = policies
        self._changed = changed
        self._custom = custom
        self._scaled: dict[DeploymentId, _Scaled] = {}
        self._removals = TaskSet()
        self.problems: dict[DeploymentId, str] = {}

    def follow(self, deployment: ScaledDeployment, number: int, *, resumed: bool = False) -> None:
        """Start or continue to scale a deployment, from `number` replicas.

        Args:
            resumed: Whether the deployment ran under a previous controller.
        """
        scaling = deployment.config
        now = self._now()
        fingerprint = (scaling.policy, deployment.code)
        known = self._scaled.get(deployment.id)
        if known is None:
            follower = LoadFollower(deployment.id, scaling, number, now, resumed=resumed)
            self._scaled[deployment.id] = _Scaled(follower, fingerprint, *self._policy(deployment))
        else:
            known.follower.configure(scaling, number, now)
            if known.fingerprint != fingerprint:
                self._replace_policy(known, deployment)
            known.failures, known.retry_at = 0, now
            self.problems.pop(deployment.id, None)
        self._refresh_soon(deployment.id, now)

    def forget(self, deployment: DeploymentId) -> None:
        """Stop scaling a deployment."""
        scaled = self._scaled.pop(deployment, None)
        if scaled is None:
            return
        self._cancel_decision(scaled)
        if scaled.timer is not None:
            scaled.timer.cancel()
        if isinstance(scaled.policy, CustomPolicy):
            self._remove_custom(deployment)
        self.problems.pop(deployment, None)

    def report(self, process: str, reports: Iterable[LoadReport]) -> None:
        """Add the load reports of one process."""
        now = self._now()
        for report in reports:
            scaled = self._scaled.get(report.deployment)
            if scaled is not None:
                scaled.follower.report(process, report, now)
                self._refresh_soon(report.deployment, now)

    def running(self, deployment: DeploymentId, running: int) -> None:
        """Update the number of a deployment's running replicas."""
        scaled = self._scaled.get(deployment)
        if scaled is not None and scaled.follower.running != running:
            scaled.follower.running = running
            self._refresh_soon(deployment, self._now())

    def number(self, deployment: DeploymentId) -> int | None:
        """Return a deployment's target number of replicas; None where it is not autoscaled."""
        scaled = self._scaled.get(deployment)
        return None if scaled is None else scaled.follower.number

    def stop(self) -> None:
        """Stop scaling all deployments, and end the policy process."""
        for deployment in list(self._scaled):
            self.forget(deployment)
        self._custom.stop()

    # --- refreshing ---------------------------------------------------------------------

    def _refresh_soon(self, deployment: DeploymentId, now: float) -> None:
        """Refresh a deployment now, or when the minimum period has passed."""
        scaled = self._scaled[deployment]
        period_s = min(MIN_REFRESH_PERIOD_S, scaled.follower.config.look_back_period_s / 10)
        at = scaled.refreshed_at + period_s
        if at <= now or scaled.follower.is_cold:
            self._refresh(scaled)
        else:
            self._refresh_at(scaled, at)

    def _refresh_at(self, scaled: _Scaled, at: float) -> None:
        """Schedule a refresh, unless an earlier refresh is scheduled."""
        timer = scaled.timer
        if timer is not None:
            if timer.when() <= at:
                return
            timer.cancel()
        scaled.timer = asyncio.get_running_loop().call_at(at, self._refresh, scaled)

    def _refresh(self, scaled: _Scaled) -> None:
        if scaled.timer is not None:
            scaled.timer.cancel()
            scaled.timer = None
        now = scaled.refreshed_at = self._now()
        before = scaled.follower.number
        if scaled.follower.cold_start(now):
            self._publish(scaled, before)
        elif scaled.deciding is not None:
            scaled.is_outdated = True
        elif now >= scaled.retry_at:
            self._decide(scaled, now)
        self._schedule(scaled, now)

    def _schedule(self, scaled: _Scaled, now: float) -> None:
        """Schedule the next refresh, for when the number may change without a report."""
        if scaled.deciding is not None:
            return  # `_decide_custom` schedules afterwards
        moments = [scaled.follower.next_wakeup(now)]
        if scaled.period_s is not None:
            moments.append(now + scaled.period_s)
        at = min((moment for moment in moments if moment is not None), default=None)
        if now < scaled.retry_at:
            at = scaled.retry_at
        if at is not None:
            # A refresh that is already due still leaves other work a moment on the loop.
            self._refresh_at(scaled, max(at, now + _MIN_DELAY_S))

    def _decide(self, scaled: _Scaled, now: float) -> None:
        follower, policy = scaled.follower, scaled.policy
        context = follower.context(now, time.time() - now)
        if isinstance(policy, CustomPolicy):
            deciding = self._decide_custom(scaled, policy, context)
            scaled.deciding = asyncio.get_running_loop().create_task(deciding)
            return
        try:
            decision, state = parse_decision(
                policy.decide(replace(context, policy_state=scaled.state))
            )
        except InvalidDecision as error:
            self._record_failure(scaled, str(error))
        except BaseException as error:  # a plugin's code must not stop other deployments
            self._record_failure(scaled, f"it raised {describe_error(error)}")
        else:
            scaled.state = scaled.state if state is None else state
            self._apply(scaled, decision)

    async def _decide_custom(
        self, scaled: _Scaled, policy: CustomPolicy, context: AutoscalingContext
    ) -> None:
        """Call a user's policy and apply its decision, however long that takes."""
        try:
            decision = await self._custom.decide(scaled.follower.deployment, policy, context)
        except PolicyFailure as error:
            self._record_failure(scaled, str(error))
        except Exception as error:  # no failure may stop the scaling of a deployment
            log.exception("cannot call the policy of %s", scaled.follower.deployment)
            self._record_failure(scaled, f"it cannot be called: {error!r}")
        else:
            self._apply(scaled, decision)
        scaled.deciding = None
        now = self._now()
        if scaled.is_outdated:
            scaled.is_outdated = False
            self._refresh_soon(scaled.follower.deployment, now)
        self._schedule(scaled, now)

    def _apply(self, scaled: _Scaled, decision: float) -> None:
        scaled.failures = 0
        if self.problems.pop(scaled.follower.deployment, None) is not None:
            log.info("%s: its autoscaling policy works again", scaled.follower.deployment)
        before = scaled.follower.number
        scaled.follower.apply(decision, self._now())
        self._publish(scaled, before)

    def _publish(self, scaled: _Scaled, before: int) -> None:
        if scaled.follower.number != before:
            self._changed(scaled.follower.deployment, scaled.follower.number)

    # --- policies -----------------------------------------------------------------------

    def _policy(
        self, deployment: ScaledDeployment
    ) -> tuple[ScalingPolicy | CustomPolicy, float | None]:
        scaling = deployment.config
        if deployment.code is None:
            try:
                return _registered_policy(deployment.id, scaling, self._policies)
            except ServeError as error:  # the policy existed when this was deployed
                return _MissingPolicy(str(error)), None
        kwargs = scaling.policy.policy_kwargs
        custom = CustomPolicy(deployment.code, kwargs)
        return custom, CUSTOM_PERIOD_S

    def _replace_policy(self, scaled: _Scaled, deployment: ScaledDeployment) -> None:
        self._cancel_decision(scaled)
        was_custom = isinstance(scaled.policy, CustomPolicy)
        scaled.fingerprint = (deployment.config.policy, deployment.code)
        scaled.policy, scaled.period_s = self._policy(deployment)
        scaled.state = {}
        if was_custom and not isinstance(scaled.policy, CustomPolicy):
            self._remove_custom(deployment.id)

    def _record_failure(self, scaled: _Scaled, failure: str) -> None:
        """Record the failure, keep the number of replicas, and schedule a retry."""
        deployment = scaled.follower.deployment
        delay_s = _RETRY_BACKOFF_S[min(scaled.failures, len(_RETRY_BACKOFF_S) - 1)]
        scaled.failures += 1
        scaled.retry_at = self._now() + delay_s
        name = scaled.follower.config.policy.policy_function
        problem = (
            f"{deployment}: its autoscaling policy {name} failed, and the number of replicas stays "
            f"as it is: {failure}"
        )
        if self.problems.get(deployment) == problem:
            return
        # One warning per period of failures, so that a failing policy does not fill the log.
        first = deployment not in self.problems
        self.problems[deployment] = problem
        if first:
            log.warning("%s", problem)
        else:
            log.debug("%s", problem)

    def _cancel_decision(self, scaled: _Scaled) -> None:
        if scaled.deciding is not None:
            scaled.deciding.cancel()
            scaled.deciding = None
            scaled.is_outdated = False

    def _remove_custom(self, deployment: DeploymentId) -> None:
        self._removals.start(self._custom.forget(deployment))

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


class _MissingPolicy:
    """A policy that no plugin registers any more; raises, so that other deployments still scale."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def decide(self, context: AutoscalingContext) -> float:
        raise LookupError(self._reason)


def _registered_policy(
    deployment: DeploymentId, scaling: AutoscalingConfig, policies: Policies
) -> tuple[ScalingPolicy, float | None]:
    """Return a plugin's policy by name, and the maximum time between its decisions."""
    name = str(scaling.policy.policy_function)
    factory = policies.get(name)
    if factory is None:
        raise ConfigError(
            f"{deployment}: no installed plugin registers the autoscaling policy {name!r}; known: "
            f"{sorted(policies)}. Set one of them, a function, a class, or 'package.module:name'."
        )
    try:
        return factory.create(scaling.policy.policy_kwargs), factory.period_s
    except Exception as error:  # a plugin's code, about the user's arguments
        raise ConfigError(
            f"{deployment}: the autoscaling policy {name!r} refuses "
            f"policy_kwargs={scaling.policy.policy_kwargs!r}: {error}"
        ) from error
