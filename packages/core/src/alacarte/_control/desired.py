"""Resources, and what they come down to. The controller's wishes in one value."""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .._model.names import MAX_NAME_LENGTH, MAX_PATH_LENGTH, check_name, check_text
from .._model.specs import DeploymentSpec
from ..errors import ConfigError, ConflictError
from ..types import DeploymentId, Expansion, Resource, ResourceKind, Resources, Route
from .reconcile import Settings, Target

__all__ = [
    "Desired",
    "State",
    "callers_of",
    "check",
    "check_replaced",
    "expand",
    "target_of",
    "wish_of",
    "longest_grace_s",
]

Key = tuple[str, str]


@dataclass(frozen=True)
class State:
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


def expand(resources: Resources, kinds: Mapping[str, ResourceKind]) -> Desired:
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
    # Callees stand before callers, so the last of an application is its ingress.
    ingresses = {deployment.app: deployment for deployment in deployments}
    taken = {route.prefix for route in routes if route.overrides}
    shown = [route for route in routes if route.overrides or route.prefix not in taken]
    resolved = tuple(_resolved(route, ingresses, deployments) for route in shown)
    return Desired(deployments, resolved, owners)


def _resolved(
    route: Route,
    ingresses: Mapping[str, DeploymentId],
    deployments: Mapping[DeploymentId, DeploymentSpec],
) -> Route:
    """Return a route with deployments in place of applications, and what versions they have."""
    if not route.is_split and all(target.name for target in route.targets):
        return route

    def ids(weights: Mapping[DeploymentId, float]) -> dict[DeploymentId, float]:
        return {
            target if target.name else ingresses.get(target.app, target): weight
            for target, weight in weights.items()
        }

    targets, shadows = ids(route.targets), ids(route.shadows)
    versions = {
        target: deployments[target].version
        for target in (*targets, *shadows)
        if target in deployments
    }
    return replace(route, targets=targets, shadows=shadows, versions=versions)


def check(resources: Resources, kinds: Mapping[str, ResourceKind]) -> None:
    """Raise ConfigError when these resources cannot exist together."""
    for resource in resources.values():
        kind_of(resource, kinds).validate(resource, resources)
    apps: dict[str, Key] = {}
    names: dict[str, Key] = {}
    paths: dict[str, Key] = {}
    fronts: dict[str, Key] = {}
    for key, resource in resources.items():
        expansion = kind_of(resource, kinds).expand(resource)
        _check_names(resource, expansion)
        for spec in expansion.deployments:
            _claim(apps, spec.id.app, key, f"application name {spec.id.app!r}")
        for route in expansion.routes:
            what = f"route prefix {route.prefix}"
            if route.name:
                _claim(names, route.name, key, f"route name {route.name!r}")
            if route.prefix:
                _claim(fronts if route.overrides else paths, route.prefix, key, what)
            if route.prefix and route.name:
                # Nothing goes in front of a route that handles call, too.
                _claim(fronts, route.prefix, key, what)
    desired = expand(resources, kinds)
    for route in desired.routes:
        for target in (*route.targets, *route.shadows):
            if target not in desired.deployments:
                raise ConfigError(
                    f"route {route.prefix or route.name}: there is no "
                    + (f"deployment {target}" if target.name else f"application {target.app!r}")
                    + f"; there are applications {sorted(apps)}."
                )


def _check_names(resource: Resource, expansion: Expansion) -> None:
    """Raise ConfigError for a name of a resource, or of what it stands for, that is not allowed."""
    # Named by their path, where they are something of a path's.
    is_path = resource.name.startswith("/")
    check_text(
        f"{resource.kind} name", resource.name, MAX_PATH_LENGTH if is_path else MAX_NAME_LENGTH
    )
    for spec in expansion.deployments:
        check_name("application name", spec.id.app)
        check_name("deployment name", spec.id.name, forbidden="#")
    for route in expansion.routes:
        subject = f"{resource.kind} {resource.name!r}: route"
        check_text(f"{subject} prefix", route.prefix, MAX_PATH_LENGTH)
        check_text(f"{subject} name", route.name, MAX_PATH_LENGTH)


def check_replaced(
    wanted: Iterable[Resource], thought: Mapping[Key, Resource | None], there: Resources
) -> None:
    """Raise ConflictError when something else is there than was thought to be.

    What is wanted itself is fine: whoever lost our answer asks again.
    """
    new = {(resource.kind, resource.name): resource for resource in wanted}
    for key, known in thought.items():
        found = there.get(key)
        if found != known and (found is None or found != new.get(key)):
            raise ConflictError(*key)


def _claim(claims: dict[str, Key], name: str, key: Key, what: str) -> None:
    """Note whose something is; refuse a second owner."""
    kind, owner = claims.setdefault(name, key)
    if (kind, owner) != key:
        raise ConfigError(
            f"{key[1]}: {what} is used by {kind} {owner}; choose another, or delete {kind} "
            f"{owner} first."
        )


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
