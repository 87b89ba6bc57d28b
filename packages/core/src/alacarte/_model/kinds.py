"""The resource kind of applications."""

from __future__ import annotations

from ..errors import InternalError
from ..types import Expansion, Resource, Resources, Route
from .deployment_spec import ApplicationSpec

__all__ = ["ApplicationKind"]


class ApplicationKind:
    """Applications: their deployments, and one route to the ingress. A `ResourceKind`."""

    name = "application"

    def validate(self, resource: Resource, all_of_them: Resources) -> None:
        """Accept every application: it needs nothing but its own name and path."""

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
