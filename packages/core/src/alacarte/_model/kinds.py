"""The resource kind of applications."""

from __future__ import annotations

from ..errors import InternalError
from ..types import Expansion, Resource, Resources, Route
from .deployment_spec import ApplicationSpec

__all__ = ["ApplicationKind"]


class ApplicationKind:
    """The `ResourceKind` of applications: their deployments, and one route to the ingress."""

    name = "application"

    def validate(self, resource: Resource, resources: Resources) -> None:
        """Accept every application: an application depends on no other resource."""

    def expand(self, resource: Resource) -> Expansion:
        """Return the application's deployments and, if it has a route prefix, its route."""
        spec = _spec(resource)
        if spec.route_prefix is None:
            return Expansion(spec.deployments)
        route = Route(spec.route_prefix, spec.name, {spec.ingress: 1.0})
        return Expansion(spec.deployments, (route,))


def _spec(resource: Resource) -> ApplicationSpec:
    if not isinstance(resource.spec, ApplicationSpec):
        raise InternalError(f"application {resource.name} holds {type(resource.spec).__name__}")
    return resource.spec
