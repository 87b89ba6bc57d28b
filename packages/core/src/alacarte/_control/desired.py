"""Resources, and what they come down to. The controller's wishes in one value."""

from __future__ import annotations

import hashlib
import json
import math
import pickle
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .._model.specs import DeploymentSpec
from ..errors import ConfigError
from ..types import DeploymentId, Resource, ResourceKind, Route
from .reconcile import Settings, Target

__all__ = [
    "Desired",
    "State",
    "callers_of",
    "decode_state",
    "encode_state",
    "expand",
    "target_of",
    "wish_of",
    "longest_grace_s",
]

Key = tuple[str, str]
FORMAT = 1


@dataclass(frozen=True)
class State:
    """All that must outlive the controller's process.

    Attributes:
        instance: Random name of this instance.
        secret: What its processes prove to each other.
        config: Sections of the configuration, as plain values.
        resources: By kind and name.
        deployed_at: When each was applied last, in seconds since 1970.
        stopping: The instance is being shut down.
    """

    instance: str
    secret: bytes
    config: Mapping[str, Any] = field(default_factory=dict)
    resources: Mapping[Key, Resource] = field(default_factory=dict)
    deployed_at: Mapping[Key, float] = field(default_factory=dict)
    stopping: bool = False

    def with_resource(self, resource: Resource, now: float) -> State:
        key = (resource.kind, resource.name)
        return replace(
            self,
            resources={**self.resources, key: resource},
            deployed_at={**self.deployed_at, key: now},
        )

    def without(self, key: Key) -> State:
        return replace(
            self,
            resources={other: value for other, value in self.resources.items() if other != key},
            deployed_at={other: at for other, at in self.deployed_at.items() if other != key},
        )


@dataclass(frozen=True)
class Desired:
    """What should exist.

    Attributes:
        owners: Which resource each deployment belongs to.
    """

    deployments: Mapping[DeploymentId, DeploymentSpec]
    routes: tuple[Route, ...]
    owners: Mapping[DeploymentId, Key]


def expand(resources: Mapping[Key, Resource], kinds: Mapping[str, ResourceKind]) -> Desired:
    """Return what all resources together come down to."""
    deployments: dict[DeploymentId, DeploymentSpec] = {}
    owners: dict[DeploymentId, Key] = {}
    routes: list[Route] = []
    for key, resource in resources.items():
        expansion = kind_of(resource, kinds).expand(resource)
        for spec in expansion.deployments:
            deployments[spec.id] = spec
            owners[spec.id] = key
        routes += expansion.routes
    return Desired(deployments, tuple(routes), owners)


def kind_of(resource: Resource, kinds: Mapping[str, ResourceKind]) -> ResourceKind:
    """Return a resource's kind.

    Raises:
        ConfigError: No installed plugin gives it.
    """
    kind = kinds.get(resource.kind)
    if kind is None:
        raise ConfigError(
            f"{resource.name}: no installed plugin gives resources of kind {resource.kind!r}, "
            f"only {sorted(kinds)}."
        )
    return kind


def longest_grace_s(desired: Desired) -> float:
    """Return how long requests may take until all is ended: callees wait for their callers."""
    graces: dict[str, float] = defaultdict(float)
    for deployment, spec in desired.deployments.items():
        graces[deployment.app] += spec.config.graceful_shutdown_timeout_s
    return max(graces.values(), default=0.0)


def callers_of(deployment: DeploymentId, desired: Desired) -> frozenset[DeploymentId]:
    """Return the deployments that may call this one: of its application, those that follow it."""
    siblings = [each for each in desired.deployments if each.app == deployment.app]
    if deployment not in siblings:
        return frozenset()
    return frozenset(siblings[siblings.index(deployment) + 1 :])


def target_of(spec: DeploymentSpec, scale: int | None = None) -> Target:
    """Return what reconciling needs of a deployment.

    Args:
        scale: How many replicas autoscaling asks for; None for what the options say.
    """
    config = spec.config
    replicas = config.target_replicas if scale is None else scale
    return Target(
        spec.version,
        replicas,
        Settings(config.max_ongoing_requests, json.dumps(config.user_config)),
        config.start_failures_allowed(replicas),
        math.ceil(config.max_surge_percent / 100 * replicas),
        max(int(config.rolling_update_percentage * replicas), 1),
        config.graceful_shutdown_timeout_s,
    )


def wish_of(resource: Resource, kinds: Mapping[str, ResourceKind]) -> str:
    """Return what tells one wish from another: the same where they come down to the same."""
    expansion = kind_of(resource, kinds).expand(resource)
    deployments = [(str(spec.id), spec.version, spec.config) for spec in expansion.deployments]
    return hashlib.sha256(repr((deployments, expansion.routes)).encode()).hexdigest()[:16]


def encode_state(state: State) -> bytes:
    """Return the checkpoint of a state."""
    # Pickled by itself, so that the format can be read where the state cannot.
    return pickle.dumps((FORMAT, pickle.dumps(state, protocol=5)), protocol=5)


def decode_state(data: bytes) -> State:
    """Return the state of a checkpoint.

    Raises:
        ConfigError: Another version of alacarte wrote it.
    """
    found, inner = pickle.loads(data)
    if found != FORMAT:
        raise ConfigError(f"the stored state has format {found}; this version reads {FORMAT}.")
    state = pickle.loads(inner)
    assert isinstance(state, State)
    return state
