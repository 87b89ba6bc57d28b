"""Resources, and kinds of resources, for tests of plans."""

from __future__ import annotations

from alacarte._control.desired_state import DesiredState
from alacarte._model.deployment_spec import ApplicationSpec, DeploymentSpec
from alacarte._model.kinds import ApplicationKind
from alacarte._model.plan import Plan
from alacarte.config import DeploymentConfig
from alacarte.errors import ConfigError
from alacarte.types import DeploymentId, Expansion, Resource, Route

KINDS = {"application": ApplicationKind()}


def application(name: str, *deployments: str, prefix: str | None = None) -> Resource:
    specs = tuple(
        DeploymentSpec(DeploymentId(name, each), "v1", b"code", b"init", False, DeploymentConfig())
        for each in deployments
    )
    spec = ApplicationSpec(name, prefix, specs[-1].id, specs)
    return Resource("application", name, spec)


def stored(*resources: Resource) -> DesiredState:
    state = DesiredState("instance", {"cluster": {"transport": "auto"}})
    for n, resource in enumerate(resources):
        state = state.with_resource(resource, float(n))
    return state


class Roads:
    """A kind whose resources are routes."""

    name = "road"

    def validate(self, resource, resources):
        """Refuse to be without the application that a resource may name."""
        if isinstance(resource.spec, str) and ("application", resource.spec) not in resources:
            raise ConfigError(f"{resource.name} needs application {resource.spec}")

    def expand(self, resource):
        """Its route, where it has one."""
        return Expansion((), () if isinstance(resource.spec, str) else (resource.spec,))


ROADS = {**KINDS, "road": Roads()}


def road(prefix: str, targets: dict[DeploymentId, float], **options) -> Resource:
    name = options.get("name") or prefix
    return Resource("road", name, Route(prefix, name, targets, **options))


def planned(*resources: Resource) -> Plan:
    """Return the plan of applications and roads."""
    return Plan.of(stored(*resources).resources, ROADS)
