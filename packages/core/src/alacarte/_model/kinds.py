"""The resource kind of applications."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ConfigError, InternalError
from ..types import Expansion, Resource, Route
from .specs import ApplicationSpec

__all__ = ["ApplicationKind"]


class ApplicationKind:
    """Applications: their deployments, and one route to the ingress. A `ResourceKind`."""

    name = "application"

    def validate(self, resource: Resource, others: Sequence[Resource]) -> None:
        """Raise ConfigError when another application has the route prefix."""
        prefix = _spec(resource).route_prefix
        if prefix is None:
            return
        for other in others:
            if other.kind != self.name or other.name == resource.name:
                continue
            if _spec(other).route_prefix == prefix:
                raise ConfigError(
                    f"{resource.name}: route prefix {prefix} is used by application "
                    f"{other.name}; choose another, or delete {other.name} first"
                )

    def expand(self, resource: Resource) -> Expansion:
        """Return the application's deployments and, unless it is kept off HTTP, its route."""
        spec = _spec(resource)
        if spec.route_prefix is None:
            return Expansion(spec.deployments)
        route = Route(spec.route_prefix, spec.name, {spec.ingress: 1.0})
        return Expansion(spec.deployments, (route,))


def _spec(resource: Resource) -> ApplicationSpec:
    if not isinstance(resource.spec, ApplicationSpec):
        raise InternalError(f"application {resource.name} holds {type(resource.spec).__name__}")
    return resource.spec
