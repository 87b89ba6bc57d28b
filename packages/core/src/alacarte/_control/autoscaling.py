"""Autoscaling as the controller sees it: numbers that are kept, and change by themselves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from .._cluster.protocol import Cluster
from .._model.specs import DeploymentSpec
from .._plugins import PluginRecord, Plugins
from ..actors import LoadReport
from ..types import DeploymentId
from .numbers import Numbers
from .policies import CustomPolicies
from .scaling import Scaler

__all__ = ["Autoscaling"]

log = logging.getLogger("alacarte.controller")
_ORPHANS_S = 30.0
"""By then every policy that is in use has been asked, and has found its process."""


class Autoscaling:
    """All deployments of an instance that scale. Lives on the controller's loop.

    Args:
        prefix: What the names of the instance's actors begin with.
        act: Called with a deployment and its new number of replicas, once that is stored.
    """

    def __init__(
        self,
        cluster: Cluster,
        plugins: Plugins,
        records: tuple[PluginRecord, ...],
        prefix: str,
        act: Callable[[DeploymentId, int], None],
    ) -> None:
        self._numbers = Numbers(cluster, act)
        self._custom = CustomPolicies(cluster, f"{prefix}policies:", records)
        self._scaler = Scaler(plugins, self._numbers.set, self._custom)
        self._resumed: set[DeploymentId] = set()
        self._sweeping: asyncio.Task[None] | None = None

    async def load(self, *, resumed: bool) -> None:
        """Take up the numbers that a former controller stored.

        Args:
            resumed: There was one. What a former instance may have left is none of ours.
        """
        if resumed:
            self._resumed = set(await self._numbers.load())
            self._sweeping = asyncio.get_running_loop().create_task(self._end_orphans())
        else:
            await self._numbers.clear()

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
        number = self._numbers.begin(spec, current)
        self._scaler.follow(spec, number, resumed=spec.id in self._resumed)
        self._resumed.discard(spec.id)
        return number

    def forget(self, deployment: DeploymentId) -> None:
        """A deployment is gone, or has a fixed number from now on."""
        self._scaler.forget(deployment)
        self._numbers.forget(deployment)

    def report(self, process: str, reports: Iterable[LoadReport]) -> None:
        """Take in what a process tells of its load."""
        self._scaler.report(process, reports)

    def running(self, deployment: DeploymentId, running: int) -> None:
        """So many of its replicas serve now."""
        self._scaler.running(deployment, running)

    def problem(self, deployment: DeploymentId) -> str:
        """Return what is the matter with its policy, "" for nothing."""
        return self._scaler.problems.get(deployment, "")

    async def _end_orphans(self) -> None:
        """End what a former controller started for policies that nobody has any more."""
        while True:
            await asyncio.sleep(_ORPHANS_S)
            try:
                await self._custom.end_orphans()
            except Exception:  # whatever the cluster answers, it is asked again
                log.exception("the cluster's actors are not known")
            else:
                return

    async def close(self) -> None:
        """Scale nothing any more, and forget all numbers."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        self._scaler.stop()
        await self._numbers.clear()
