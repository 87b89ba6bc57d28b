"""The autoscaling loop: keep the load of each deployment, ask its policy, and change its count.

The loop has no tick. A deployment is refreshed when its load or its replicas change, when a delay
ends, and while the window over its past still moves; a deployment at rest costs nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

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
PAUSE_S = 0.1
"""Between two refreshes of one deployment, however often its load is reported."""
CUSTOM_PERIOD_S = 1.0
"""Period of asking a user's policy while the load stays the same: other things may decide."""
_MIN_PAUSE_S = 0.001
_RETRY_BACKOFF_S = (1.0, 2.0, 5.0, 15.0, 30.0)
"""Pauses before a failing policy is asked again."""


@dataclass(frozen=True)
class ScaledDeployment:
    """A deployment that scales.

    Attributes:
        id: Its application and name.
        config: Its option, with the name of the policy.
        code: The user's own policy; None for one that a plugin gives.
    """

    id: DeploymentId
    config: AutoscalingConfig
    code: UserCode | None = None


Policies = Mapping[str, ScalingPolicyFactory]
"""The policies that plugins give, by name."""


def check_policy(deployment: ScaledDeployment, policies: Policies) -> None:
    """Refuse a deployment whose policy no plugin gives.

    Raises:
        ConfigError: No plugin gives the policy, or the policy refuses its arguments.
    """
    if deployment.code is None:
        _given_policy(deployment.id, deployment.config, policies)


@dataclass(eq=False)
class _Scaled:
    """One deployment that scales.

    Attributes:
        fingerprint: The policy as the user asked for it, and its code.
        policy: A plugin's, or the user's own.
        period_s: Longest time between two questions; None where only the load matters.
        state: What a plugin's policy answered besides the number.
        rests_until: The policy has failed, and is not asked before then.
        changed_meanwhile: The load or the replicas changed while the policy was being asked.
    """

    follower: LoadFollower
    fingerprint: tuple[AutoscalingPolicy, UserCode | None]
    policy: ScalingPolicy | CustomPolicy
    period_s: float | None
    state: Mapping[str, Any] = field(default_factory=dict)
    refreshed_at: float = float("-inf")
    failures: int = 0
    rests_until: float = float("-inf")
    timer: asyncio.TimerHandle | None = None
    asking: asyncio.Task[None] | None = None
    changed_meanwhile: bool = False


class ScalingLoop:
    """All deployments of an instance that scale. Lives on the controller's loop.

    Args:
        policies: Those of plugins.
        changed: Called with each new number of replicas.
        custom: Asks users' own policies.

    Attributes:
        problems: Descriptions of the failures of policies, by deployment.
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
        self._endings: set[asyncio.Task[None]] = set()
        self.problems: dict[DeploymentId, str] = {}

    def follow(self, deployment: ScaledDeployment, number: int, *, resumed: bool = False) -> None:
        """Let a deployment's replicas follow its load, from `number` of them.

        Args:
            resumed: The deployment ran under a former controller.
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
            known.failures, known.rests_until = 0, now
            self.problems.pop(deployment.id, None)
        self._refresh_soon(deployment.id, now)

    def forget(self, deployment: DeploymentId) -> None:
        """Stop scaling a deployment."""
        scaled = self._scaled.pop(deployment, None)
        if scaled is None:
            return
        self._give_up_asking(scaled)
        if scaled.timer is not None:
            scaled.timer.cancel()
        if isinstance(scaled.policy, CustomPolicy):
            self._end_custom(deployment)
        self.problems.pop(deployment, None)

    def report(self, process: str, reports: Iterable[LoadReport]) -> None:
        """Take in the load reports of one process."""
        now = self._now()
        for report in reports:
            scaled = self._scaled.get(report.deployment)
            if scaled is not None:
                scaled.follower.report(process, report, now)
                self._refresh_soon(report.deployment, now)

    def running(self, deployment: DeploymentId, running: int) -> None:
        """Take in how many replicas of a deployment run."""
        scaled = self._scaled.get(deployment)
        if scaled is not None and scaled.follower.running != running:
            scaled.follower.running = running
            self._refresh_soon(deployment, self._now())

    def number(self, deployment: DeploymentId) -> int | None:
        """Return a deployment's target number of replicas; None for one that does not scale."""
        scaled = self._scaled.get(deployment)
        return None if scaled is None else scaled.follower.number

    def stop(self) -> None:
        """Stop scaling all deployments, and end the policy process."""
        for deployment in list(self._scaled):
            self.forget(deployment)
        self._custom.stop()

    # --- refreshing ---------------------------------------------------------------------

    def _refresh_soon(self, deployment: DeploymentId, now: float) -> None:
        """Refresh a deployment now, or as soon as its last refresh is long enough ago."""
        scaled = self._scaled[deployment]
        pause = min(PAUSE_S, scaled.follower.config.look_back_period_s / 10)
        at = scaled.refreshed_at + pause
        if at <= now or scaled.follower.is_cold:
            self._refresh(scaled)
        else:
            self._refresh_at(scaled, at)

    def _refresh_at(self, scaled: _Scaled, at: float) -> None:
        """Refresh at that time, or earlier if an earlier refresh is planned."""
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
        if scaled.follower.warm(now):
            self._pass_on_change(scaled, before)
        elif scaled.asking is not None:
            scaled.changed_meanwhile = True
        elif now >= scaled.rests_until:
            self._ask(scaled, now)
        self._plan(scaled, now)

    def _plan(self, scaled: _Scaled, now: float) -> None:
        """Plan the next refresh, for when time alone may change the number."""
        if scaled.asking is not None:
            return  # the answer plans
        moments = [scaled.follower.next_wakeup(now)]
        if scaled.period_s is not None:
            moments.append(now + scaled.period_s)
        at = min((moment for moment in moments if moment is not None), default=None)
        if now < scaled.rests_until:
            at = scaled.rests_until
        if at is not None:
            # What is due is due at the next turn, and no earlier than a moment after this refresh.
            self._refresh_at(scaled, max(at, now + _MIN_PAUSE_S))

    def _ask(self, scaled: _Scaled, now: float) -> None:
        follower, policy = scaled.follower, scaled.policy
        context = follower.context(now, time.time() - now)
        if isinstance(policy, CustomPolicy):
            asking = self._ask_custom(scaled, policy, context)
            scaled.asking = asyncio.get_running_loop().create_task(asking)
            return
        try:
            answer = policy.decide(replace(context, policy_state=scaled.state))
            wanted, state = parse_decision(answer)
        except InvalidDecision as error:
            self._note(scaled, str(error))
        except BaseException as error:  # a plugin's code: its failure is nobody else's
            self._note(scaled, f"it raised {describe_error(error)}")
        else:
            scaled.state = scaled.state if state is None else state
            self._take(scaled, wanted)

    async def _ask_custom(
        self, scaled: _Scaled, policy: CustomPolicy, context: AutoscalingContext
    ) -> None:
        """Ask a user's policy and take its answer, however long that takes."""
        try:
            wanted = await self._custom.ask(scaled.follower.deployment, policy, context)
        except PolicyFailure as error:
            self._note(scaled, str(error))
        except Exception as error:  # no failure may stop the scaling of a deployment
            log.exception("the policy of %s could not be asked", scaled.follower.deployment)
            self._note(scaled, f"it could not be asked: {error!r}")
        else:
            self._take(scaled, wanted)
        scaled.asking = None
        now = self._now()
        if scaled.changed_meanwhile:
            scaled.changed_meanwhile = False
            self._refresh_soon(scaled.follower.deployment, now)
        self._plan(scaled, now)

    def _take(self, scaled: _Scaled, wanted: float) -> None:
        scaled.failures = 0
        if self.problems.pop(scaled.follower.deployment, None) is not None:
            log.info("%s: its autoscaling policy answers again", scaled.follower.deployment)
        before = scaled.follower.number
        scaled.follower.take(wanted, self._now())
        self._pass_on_change(scaled, before)

    def _pass_on_change(self, scaled: _Scaled, before: int) -> None:
        if scaled.follower.number != before:
            self._changed(scaled.follower.deployment, scaled.follower.number)

    # --- policies -----------------------------------------------------------------------

    def _policy(
        self, deployment: ScaledDeployment
    ) -> tuple[ScalingPolicy | CustomPolicy, float | None]:
        scaling = deployment.config
        if deployment.code is None:
            try:
                return _given_policy(deployment.id, scaling, self._policies)
            except ServeError as error:  # though it was there when this was deployed
                return _Missing(str(error)), None
        kwargs = scaling.policy.policy_kwargs
        custom = CustomPolicy(deployment.code, kwargs)
        return custom, CUSTOM_PERIOD_S

    def _replace_policy(self, scaled: _Scaled, deployment: ScaledDeployment) -> None:
        self._give_up_asking(scaled)
        was_custom = isinstance(scaled.policy, CustomPolicy)
        scaled.fingerprint = (deployment.config.policy, deployment.code)
        scaled.policy, scaled.period_s = self._policy(deployment)
        scaled.state = {}
        if was_custom and not isinstance(scaled.policy, CustomPolicy):
            self._end_custom(deployment.id)

    def _note(self, scaled: _Scaled, failure: str) -> None:
        """Keep the number of replicas, note the failure, and ask again later."""
        deployment = scaled.follower.deployment
        pause = _RETRY_BACKOFF_S[min(scaled.failures, len(_RETRY_BACKOFF_S) - 1)]
        scaled.failures += 1
        scaled.rests_until = self._now() + pause
        name = scaled.follower.config.policy.policy_function
        problem = (
            f"{deployment}: its autoscaling policy {name} failed, and the number of replicas stays "
            f"as it is: {failure}"
        )
        if self.problems.get(deployment) == problem:
            return
        # Once for each reason: a policy that goes on failing would fill the log.
        first = deployment not in self.problems
        self.problems[deployment] = problem
        if first:
            log.warning("%s", problem)
        else:
            log.debug("%s", problem)

    def _give_up_asking(self, scaled: _Scaled) -> None:
        if scaled.asking is not None:
            scaled.asking.cancel()
            scaled.asking = None
            scaled.changed_meanwhile = False

    def _end_custom(self, deployment: DeploymentId) -> None:
        ending = asyncio.get_running_loop().create_task(self._custom.forget(deployment))
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


class _Missing:
    """Stands for a policy that no plugin gives any more, so that other deployments scale on."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def decide(self, context: AutoscalingContext) -> float:
        raise LookupError(self._reason)


def _given_policy(
    deployment: DeploymentId, scaling: AutoscalingConfig, policies: Policies
) -> tuple[ScalingPolicy, float | None]:
    """Return a policy that a plugin gives by name, and how often it is to be asked at least."""
    name = str(scaling.policy.policy_function)
    factory = policies.get(name)
    if factory is None:
        raise ConfigError(
            f"{deployment}: no installed plugin gives an autoscaling policy {name!r}; there are "
            f"{sorted(policies)}. One of your own is a function, a class, or 'package.module:name'."
        )
    try:
        return factory.create(scaling.policy.policy_kwargs), factory.period_s
    except Exception as error:  # a plugin's code, about what the user wrote
        raise ConfigError(
            f"{deployment}: the autoscaling policy {name!r} refuses "
            f"policy_kwargs={scaling.policy.policy_kwargs!r}: {error}"
        ) from error
