"""A `ScalerContext` that stores in a dict, and acts on nothing by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from alacarte._control.helper_actors import HelperActors
from alacarte._control.scaling import SCALER_KEY
from alacarte.types import DeploymentId, HelperProcesses, ReportReceiver, ScaledDeployment
from alacarte_autoscaling._load_intake import LoadIntake


class Context:
    """The means of one controller's scaler.

    Args:
        cluster: Has the durable map, and the actors.
        act: Called with a deployment and its new count.
        recovered: By a controller that is not the first one.
    """

    def __init__(
        self,
        cluster: Any,
        act: Callable[[DeploymentId, int], None],
        recovered: bytes | None = None,
        policies: Mapping[str, Any] | None = None,
    ) -> None:
        self.recovered = recovered
        self.processes: HelperProcesses = HelperActors(cluster, "alacarte:x:policies:", ())
        self.scale = act
        self.intake = LoadIntake()
        self._cluster = cluster
        self._policies = policies or {}

    def registered(self, hook: str) -> Mapping[str, Any]:
        assert hook == "register_autoscaling_policies"
        return self._policies

    def receiver(self, topic: str) -> ReportReceiver:
        return self.intake

    async def store(self, value: bytes) -> None:
        await self._cluster.put(SCALER_KEY, value)

    async def clear(self) -> None:
        await self._cluster.delete(SCALER_KEY)


def scaled(deployment: DeploymentId, options: Any, code: bytes | None = None) -> ScaledDeployment:
    return ScaledDeployment(deployment, options, code)
