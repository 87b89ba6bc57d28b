"""The plan: the deployments and routes of all resources, each resource expanded once. Pure.

Validation, status, routes and the driver's early checks read one plan, so that kinds expand a
resource once. Kinds validate resources at each change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from ..errors import ConfigError
from ..types import DeploymentId, Expansion, Resource, ResourceKind, Resources, Route
from .deployment_spec import DeploymentSpec

__all__ = ["Key", "Plan", "PlannedResource", "kind_of"]

Key = tuple[str, str]
"""A resource's kind and name."""


@dataclass(frozen=True)
class PlannedResource:
    """A resource and its expansion."""

    resource: Resource
    expansion: Expansion

    @cached_property
    def fingerprint(self) -> str:
        """A digest that is equal for resources with the same deployments and routes."""
        expansion = self.expansion
        deployments = [
            (str(spec.id), spec.version, spec.config, dict(spec.all_options))
            for spec in expansion.deployments
        ]
        return hashlib.sha256(repr((deployments, expansion.routes)).encode()).hexdigest()[:16]

    @property
    def prefix(self) -> str | None:
        """The resource's route prefix; None for no HTTP."""
        return next((route.prefix for route in self.expansion.routes if route.prefix), None)


@dataclass(frozen=True)
class Plan:
    """The desired deployments and routes of all resources.

    Attributes:
        deployments: Deployments of all resources, by id; in an application, callees before
            callers.
        routes: Effective routes: to deployments in place of applications, without routes that
            another route overrides.
        ingresses: The deployment that takes the requests of each application.
        owners: The resource of each deployment.
        resources: Each resource with its expansion, in the order of creation.
    """

    deployments: Mapping[DeploymentId, DeploymentSpec] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    ingresses: Mapping[str, DeploymentId] = field(default_factory=dict)
    owners: Mapping[DeploymentId, Key] = field(default_factory=dict)
    resources: Mapping[Key, PlannedResource] = field(default_factory=dict)

    @classmethod
    def of(
        cls, resources: Resources, kinds: Mapping[str, ResourceKind], before: Plan | None = None
    ) -> Plan:
        """Expand resources.

        Args:
            resources: All desired resources, by kind and name.
            kinds: Resource kinds, by name.
            before: An earlier plan, whose expansions of the same resources are reused.

        Raises:
            ConfigError: No installed plugin provides the kind of a resource.
        """
        known = {} if before is None else before.resources
        planned: dict[Key, PlannedResource] = {}
        for key, resource in resources.items():
            former = known.get(key)
            if former is None or former.resource is not resource:
                former = PlannedResource(resource, kind_of(resource, kinds).expand(resource))
            planned[key] = former
        return _combined(planned)


def _combined(planned: Mapping[Key, PlannedResource]) -> Plan:
    deployments: dict[DeploymentId, DeploymentSpec] = {}
    owners: dict[DeploymentId, Key] = {}
    routes: list[Route] = []
    for key, each in planned.items():
        for spec in each.expansion.deployments:
            deployments[spec.id] = spec
            owners[spec.id] = key
        routes += each.expansion.routes
    # Callees precede callers, so the last deployment of an application is its ingress.
    ingresses = {deployment.app: deployment for deployment in deployments}
    taken = {route.prefix for route in routes if route.overrides}
    shown = [route for route in routes if route.overrides or route.prefix not in taken]
    resolved = tuple(_resolved(route, ingresses, deployments) for route in shown)
    return Plan(deployments, resolved, ingresses, owners, planned)


def _resolved(
    route: Route,
    ingresses: Mapping[str, DeploymentId],
    deployments: Mapping[DeploymentId, DeploymentSpec],
) -> Route:
    """Return a route to deployments in place of applications, with the deployments' versions."""
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


def kind_of(resource: Resource, kinds: Mapping[str, ResourceKind]) -> ResourceKind:
    """Return a resource's kind.

    Raises:
        ConfigError: No installed plugin provides the kind.
    """
    kind = kinds.get(resource.kind)
    if kind is None:
        raise ConfigError(
            f"{resource.name}: no installed plugin provides the resource kind {resource.kind!r}; "
            f"there are {sorted(kinds)}."
        )
    return kind
