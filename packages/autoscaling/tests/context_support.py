"""A fake `ScalerContext` that stores its value in a dict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from alacarte._control.helper_actors import HelperActors
from alacarte._control.scaling import SCALER_KEY
from alacarte.types import DeploymentId, DeploymentInfo, HelperProcesses, ReportReceiver
from alacarte_autoscaling._load_intake import LoadIntake
from alacarte_autoscaling.config import AutoscalingConfig


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
        self.processes: HelperProcesses = HelperActors(cluster, "alacarte:x:helpers:", ())
        self.scale = act
        self.intake = LoadIntake()
        self._cluster = cluster
        registered = {"register_autoscaling_policies": policies or {}}
        self.hooks: Any = SimpleNamespace(registered=registered.__getitem__)

    def receiver(self, topic: str) -> ReportReceiver:
        return self.intake

    async def store(self, value: bytes) -> None:
        await self._cluster.put(SCALER_KEY, value)

    async def clear(self) -> None:
        await self._cluster.delete(SCALER_KEY)


def deployment(name: DeploymentId, config: AutoscalingConfig | None) -> DeploymentInfo:
    """Return a deployment with this option."""
    return DeploymentInfo(name, "v", _Options(config))


class _Options:
    def __init__(self, config: AutoscalingConfig | None) -> None:
        self._config = config

    def section(self, name: str) -> Any:
        assert name == "autoscaling"
        return self._config
