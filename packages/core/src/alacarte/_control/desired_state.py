"""The desired state that outlives the controller's process, and values derived from a plan."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from .._model.deployment_spec import DeploymentSpec
from .._model.plan import Key, Plan
from ..types import DeploymentId, Resource
from .reconcile import Settings, Target

if TYPE_CHECKING:
    from .._section_values import Config

__all__ = ["DesiredState", "callers_of", "longest_grace_s", "target_of"]


@dataclass(frozen=True)
class DesiredState:
    """The stored state of an instance, without secrets.

    Attributes:
        instance: Random name of this instance.
        config: Sections of the configuration, as plain values without secrets.
        withheld: The secrets that are missing in `config`, as "section.field".
        resources: Resources by kind and name.
        deployed_at: Time of each resource's last `apply`, in seconds since 1970.
        stopping: The instance is shutting down.
        held: A driver holds a lease, and the instance ends when it expires; see `Lease`.
    """

    instance: str
    config: Config = field(default_factory=dict)
    withheld: tuple[str, ...] = ()
    resources: Mapping[Key, Resource] = field(default_factory=dict)
    deployed_at: Mapping[Key, float] = field(default_factory=dict)
    stopping: bool = False
    held: bool = False

    def with_resource(self, resource: Resource, now: float) -> DesiredState:
        """Return the state with a resource added or replaced."""
        key = (resource.kind, resource.name)
        return replace(
            self,
            resources={**self.resources, key: resource},
            deployed_at={**self.deployed_at, key: now},
        )

    def without(self, key: Key) -> DesiredState:
        """Return the state without a resource."""
        return replace(
            self,
            resources={other: value for other, value in self.resources.items() if other != key},
            deployed_at={other: at for other, at in self.deployed_at.items() if other != key},
        )


def longest_grace_s(plan: Plan) -> float:
    """Return the time that a shutdown allows for requests, in seconds.

    Each application needs the sum of its deployments' grace periods: callees stop after callers.
    """
    graces: dict[str, float] = defaultdict(float)
    for deployment, spec in plan.deployments.items():
        graces[deployment.app] += spec.config.graceful_shutdown_timeout_s
    return max(graces.values(), default=0.0)


def callers_of(deployment: DeploymentId, plan: Plan) -> frozenset[DeploymentId]:
    """Return the deployments that may call this one: the later ones of its application."""
    siblings = [each for each in plan.deployments if each.app == deployment.app]
    if deployment not in siblings:
        return frozenset()
    return frozenset(siblings[siblings.index(deployment) + 1 :])


def target_of(spec: DeploymentSpec, scale: int | None = None) -> Target:
    """Return the reconcile target of a deployment.

    Args:
        scale: Number of replicas that autoscaling has chosen; None for `num_replicas`.
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
