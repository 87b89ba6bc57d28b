"""Autoscaling as the controller sees it: replica counts that are stored, and follow the load."""

from __future__ import annotations

import asyncio
import logging

from alacarte.types import DeploymentId, DeploymentInfo, ScalerContext

from ._custom_policies import CustomPolicies
from ._load_intake import LoadIntake
from ._load_reports import LOADS_TOPIC
from ._policy_packing import split_policy
from ._replica_counts import ReplicaCounts, read_counts
from ._scaling_loop import ScaledDeployment, ScalingLoop, check_policy

__all__ = ["LoadScaler"]

log = logging.getLogger("alacarte.controller")
_ORPHANS_S = 30.0
"""Every policy in use has been asked by then, and its process found."""


class LoadScaler:
    """The `Scaler` of an instance: counts follow the load, as each deployment's policy says."""

    def __init__(self, context: ScalerContext) -> None:
        self._policies = context.hooks.registered("register_autoscaling_policies")
        self._counts = ReplicaCounts(context)
        self._custom = CustomPolicies(context.processes)
        self._loop = ScalingLoop(self._policies, self._counts.set, self._custom)
        self._resumed = set(read_counts(context.recovered))
        self._is_recovered = context.recovered is not None
        intake = context.receiver(LOADS_TOPIC)
        assert isinstance(intake, LoadIntake)
        intake.pass_on(self._loop.report)
        self._sweeping: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to end policy processes that a former controller has left."""
        if self._is_recovered:
            self._sweeping = asyncio.get_running_loop().create_task(self._end_orphans())

    def check(self, deployment: DeploymentInfo) -> None:
        """Refuse a deployment whose policy no plugin gives, or whose policy refuses its arguments.

        Raises:
            ConfigError: As above.
        """
        scaled = _scaled(deployment)
        if scaled is not None:
            check_policy(scaled, self._policies)

    def want(self, deployment: DeploymentInfo, current: int | None) -> int | None:
        """Let a deployment scale as its spec says; return how many replicas it has for now.

        Args:
            current: How many are wanted of it so far; None for a new one.

        Returns:
            None for a deployment that does not scale.
        """
        scaled = _scaled(deployment)
        if scaled is None:
            self.forget(deployment.id)
            return None
        replicas = self._counts.begin(scaled.id, scaled.config, current)
        self._loop.follow(scaled, replicas, resumed=deployment.id in self._resumed)
        self._resumed.discard(deployment.id)
        return replicas

    def forget(self, deployment: DeploymentId) -> None:
        """Stop scaling a deployment: it is gone, or has a fixed count from now on."""
        self._loop.forget(deployment)
        self._counts.forget(deployment)

    def running(self, deployment: DeploymentId, running: int) -> None:
        """Take in how many replicas of a deployment serve now."""
        self._loop.running(deployment, running)

    def problem(self, deployment: DeploymentId) -> str:
        """Return the problem of a deployment's policy, "" for none."""
        return self._loop.problems.get(deployment, "")

    async def _end_orphans(self) -> None:
        """End the policy processes of a former controller that no deployment needs any more."""
        while True:
            await asyncio.sleep(_ORPHANS_S)
            try:
                await self._custom.end_orphans()
            except Exception:  # whatever the cluster answers, it is asked again
                log.exception("the cluster's actors are not known")
            else:
                return

    def stop(self) -> None:
        """Stop scaling; the counts stay stored."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        self._loop.stop()

    async def close(self) -> None:
        """Stop scaling, and delete all counts."""
        self.stop()
        await self._counts.clear()


def _scaled(deployment: DeploymentInfo) -> ScaledDeployment | None:
    config = deployment.options("autoscaling")
    return None if config is None else ScaledDeployment(deployment.id, *split_policy(config))
