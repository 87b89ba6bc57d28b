"""Scaler of the controller: stored replica counts that follow the load."""

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
"""Time after which every policy in use has decided once, so that its process is known."""


class LoadScaler:
    """The `Scaler` of an instance: each deployment's policy sets its replica count."""

    def __init__(self, context: ScalerContext) -> None:
        self._policies = context.hooks.registered("register_autoscaling_policies")
        self._counts = ReplicaCounts(context)
        self._custom = CustomPolicies(context.processes)
        self._loop = ScalingLoop(self._policies, self._counts.set, self._custom)
        self._resumed = set(read_counts(context.recovered))
        self._is_recovered = context.recovered is not None
        intake = context.receiver(LOADS_TOPIC)
        assert isinstance(intake, LoadIntake)
        intake.forward_to(self._loop.report)
        self._sweeping: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to remove unused policy processes of a previous controller."""
        if self._is_recovered:
            self._sweeping = asyncio.get_running_loop().create_task(self._end_orphans())

    def check(self, deployment: DeploymentInfo) -> None:
        """Check the policy of a deployment.

        Raises:
            ConfigError: No plugin registers the policy, or the policy refuses its arguments.
        """
        scaled = _scaled(deployment)
        if scaled is not None:
            check_policy(scaled, self._policies)

    def want(self, deployment: DeploymentInfo, current: int | None) -> int | None:
        """Start or continue to scale a deployment; return its number of replicas.

        Args:
            current: The current target number of replicas; None for a new deployment.

        Returns:
            None for a deployment with a fixed number of replicas.
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
        """Stop scaling a deployment that is gone, or has a fixed number of replicas."""
        self._loop.forget(deployment)
        self._counts.forget(deployment)

    def running(self, deployment: DeploymentId, running: int) -> None:
        """Update the number of a deployment's running replicas."""
        self._loop.running(deployment, running)

    def problem(self, deployment: DeploymentId) -> str:
        """Return the problem of a deployment's policy, "" for none."""
        return self._loop.problems.get(deployment, "")

    async def _end_orphans(self) -> None:
        """Remove the policy processes of a previous controller that no deployment uses."""
        while True:
            await asyncio.sleep(_ORPHANS_S)
            try:
                await self._custom.end_orphans()
            except Exception:  # any error of the cluster: retry
                log.exception("cannot list the policy processes; retrying in %g s", _ORPHANS_S)
            else:
                return

    def stop(self) -> None:
        """Stop scaling, but keep the stored counts."""
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
