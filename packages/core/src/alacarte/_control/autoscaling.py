"""Autoscaling as the controller sees it: replica counts that are stored, and follow the load."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping

from .._cluster.protocol import Cluster
from .._model.specs import DeploymentSpec
from .._plugins import PluginRecord, Plugins
from ..actors import LoadReport
from ..types import DeploymentId
from .policies import CustomPolicies
from .replica_counts import ReplicaCounts, StoredCount
from .scaling import Scaler

__all__ = ["Autoscaling"]

log = logging.getLogger("alacarte.controller")
_ORPHANS_S = 30.0
"""By then every policy that is in use has been asked, and has found its process."""


class Autoscaling:
    """All deployments of an instance that scale. Lives on the controller's loop.

    Args:
        prefix: What the names of the instance's actors begin with.
        act: Called with a deployment and its new count of replicas, once that is stored.
        counts: The counts that a former controller stored; None where there was none.
    """

    def __init__(
        self,
        cluster: Cluster,
        plugins: Plugins,
        records: tuple[PluginRecord, ...],
        prefix: str,
        act: Callable[[DeploymentId, int], None],
        counts: Mapping[DeploymentId, StoredCount] | None,
    ) -> None:
        self._counts = ReplicaCounts(cluster, act, counts or {})
        self._custom = CustomPolicies(cluster, f"{prefix}policies:", records)
        self._scaler = Scaler(plugins, self._counts.set, self._custom)
        self._resumed = set(counts or ())
        self._is_recovered = counts is not None
        self._sweeping: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look for what a former controller has left."""
        if self._is_recovered:
            self._sweeping = asyncio.get_running_loop().create_task(self._end_orphans())

    def want(self, spec: DeploymentSpec, current: int | None) -> int | None:
        """Let a deployment scale as its spec says; return how many replicas it has for now.

        Args:
            current: How many are wanted of it so far; None for a new one.

        Returns:
            None for a deployment that does not scale.
        """
        if spec.config.autoscaling_config is None:
            self.forget(spec.id)
            return None
        replicas = self._counts.begin(spec, current)
        self._scaler.follow(spec, replicas, resumed=spec.id in self._resumed)
        self._resumed.discard(spec.id)
        return replicas

    def forget(self, deployment: DeploymentId) -> None:
        """Scale a deployment no longer: it is gone, or has a fixed count from now on."""
        self._scaler.forget(deployment)
        self._counts.forget(deployment)

    def report(self, process: str, reports: Iterable[LoadReport]) -> None:
        """Take in a process's report of its load."""
        self._scaler.report(process, reports)

    def running(self, deployment: DeploymentId, running: int) -> None:
        """Take in how many replicas of a deployment serve now."""
        self._scaler.running(deployment, running)

    def problem(self, deployment: DeploymentId) -> str:
        """Return the problem of a deployment's policy, "" for none."""
        return self._scaler.problems.get(deployment, "")

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
        """Scale nothing any more; the counts stay stored."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        self._scaler.stop()

    async def close(self) -> None:
        """Scale nothing any more, and delete all counts."""
        self.stop()
        await self._counts.clear()
