"""The desired state that outlives the controller's process, and facts that follow from a plan."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .._model.deployment_spec import DeploymentSpec
from .._model.plan import Key, Plan
from ..types import DeploymentId, Resource
from .reconcile import Settings, Target

__all__ = ["DesiredState", "callers_of", "longest_grace_s", "target_of"]


@dataclass(frozen=True)
class DesiredState:
    """All that must outlive the controller's process, and nothing that must stay secret.

    Attributes:
        instance: Random name of this instance.
        config: Sections of the configuration, as plain values without secrets.
        withheld: The secrets that `config` would hold, as "section.field".
        resources: By kind and name.
        deployed_at: When each was applied last, in seconds since 1970.
        stopping: The instance is being shut down.
        held: It ends with the process that started it; see `Lease`.
    """

    instance: str
    config: Mapping[str, Any] = field(default_factory=dict)
    withheld: tuple[str, ...] = ()
    resources: Mapping[Key, Resource] = field(default_factory=dict)
    deployed_at: Mapping[Key, float] = field(default_factory=dict)
    stopping: bool = False
    held: bool = False

    def with_resource(self, resource: Resource, now: float) -> DesiredState:
        key = (resource.kind, resource.name)
        return replace(
            self,
            resources={**self.resources, key: resource},
            deployed_at={**self.deployed_at, key: now},
        )

    def without(self, key: Key) -> DesiredState:
        return replace(
            self,
            resources={other: value for other, value in self.resources.items() if other != key},
            deployed_at={other: at for other, at in self.deployed_at.items() if other != key},
        )


def longest_grace_s(plan: Plan) -> float:
    """Return how long requests may take until all is ended: callees wait for their callers."""
    graces: dict[str, float] = defaultdict(float)
    for deployment, spec in plan.deployments.items():
        graces[deployment.app] += spec.config.graceful_shutdown_timeout_s
    return max(graces.values(), default=0.0)


def callers_of(deployment: DeploymentId, plan: Plan) -> frozenset[DeploymentId]:
    """Return the deployments that may call this one: of its application, those that follow it."""
    siblings = [each for each in plan.deployments if each.app == deployment.app]
    if deployment not in siblings:
        return frozenset()
    return frozenset(siblings[siblings.index(deployment) + 1 :])


def target_of(spec: DeploymentSpec, scale: int | None = None) -> Target:
    """Return what reconciling needs of a deployment.

    Args:
        scale: How many replicas autoscaling asks for; None for what the options say.
    """
    config = spec.config
    replicas = config.num_replicas if scale is None else scale
    return Target(
        spec.version,
        replicas,
        Settings(config.max_ongoing_requests, json.dumps(config.user_config), spec.options),
        config.start_failures_allowed(replicas),
        math.ceil(config.max_surge_percent / 100 * replicas),
        max(int(config.rolling_update_percentage * replicas), 1),
        config.graceful_shutdown_timeout_s,
    )
