"""Resource kinds of this package, with their deployments and routes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from alacarte.config import DeploymentConfig
from alacarte.errors import ConfigError, InternalError
from alacarte.instance import DeploymentSpec
from alacarte.types import DeploymentId, Expansion, Resource, Resources, Route

from ._callable import Traits
from .config import BackendConfig

__all__ = [
    "APPLICATION",
    "BACKEND",
    "ENDPOINT",
    "TRAFFIC",
    "BackendKind",
    "BackendSpec",
    "EndpointKind",
    "EndpointSpec",
    "TrafficKind",
    "TrafficSpec",
]

APPLICATION = "application"
BACKEND = "backend"
ENDPOINT = "endpoint"
TRAFFIC = "traffic"
SpecT = TypeVar("SpecT")


@dataclass(frozen=True)
class BackendSpec:
    """A backend: an application with one deployment, both named by the backend's tag.

    Attributes:
        made: Random id of this creation, to distinguish equal backends of two programs.
    """

    deployment: DeploymentSpec
    config: BackendConfig
    traits: Traits
    made: str = ""

    def configured(self, config: BackendConfig) -> BackendSpec:
        """Return a copy with other options."""
        changed = config.deployment_options(is_async=self.traits.is_async)
        options = DeploymentConfig(**{**dict(self.deployment.config), **changed})
        return replace(self, config=config, deployment=replace(self.deployment, config=options))


@dataclass(frozen=True)
class EndpointSpec:
    """An endpoint.

    Attributes:
        backend: The initial backend, which gets all requests while `traffic` is empty.
        route: HTTP path; None for an endpoint without HTTP.
        methods: Allowed HTTP methods.
        traffic: The weights from `set_traffic`, by backend.
        shadows: Share of requests of which each of these backends gets copies.
        made: Random id of this creation, as `BackendSpec.made`.
    """

    backend: str
    route: str | None = None
    methods: tuple[str, ...] = ("GET",)
    traffic: Mapping[str, float] = field(default_factory=dict)
    shadows: Mapping[str, float] = field(default_factory=dict)
    made: str = ""

    @property
    def weights(self) -> Mapping[str, float]:
        """The effective weights, by backend."""
        return self.traffic or {self.backend: 1.0}

    @property
    def backends(self) -> set[str]:
        """The tags of all backends that the endpoint uses."""
        return {*self.weights, *self.shadows}


@dataclass(frozen=True)
class TrafficSpec:
    """The split of an application's path; the resource's name is the path.

    Attributes:
        weights: Weights by application.
        shadows: Share of requests of which each of these applications gets copies.
    """

    weights: Mapping[str, float]
    shadows: Mapping[str, float] = field(default_factory=dict)

    @property
    def main(self) -> str:
        """The application with the greatest weight."""
        return max(self.weights, key=self.weights.__getitem__)


class BackendKind:
    """The `ResourceKind` of backends."""

    name = BACKEND

    def validate(self, resource: Resource, resources: Resources) -> None:
        """Accept every backend, since a backend depends on no other resource."""

    def expand(self, resource: Resource) -> Expansion:
        """Return the deployment of a backend."""
        return Expansion((_spec(resource, BackendSpec).deployment,))


class EndpointKind:
    """The `ResourceKind` of endpoints."""

    name = ENDPOINT

    def validate(self, resource: Resource, resources: Resources) -> None:
        """Raise ConfigError when a backend of the endpoint does not exist."""
        needed = _spec(resource, EndpointSpec).backends
        subject = f"endpoint {resource.name!r}"
        remedy = f"set other traffic of {subject}, or delete the endpoint, before its backend"
        _check_exist(subject, BACKEND, needed, resources, remedy)

    def expand(self, resource: Resource) -> Expansion:
        """Return the route of an endpoint."""
        spec = _spec(resource, EndpointSpec)
        return _one_route(
            Route(
                prefix=spec.route or "",
                app=resource.name,
                targets={DeploymentId(tag, tag): share for tag, share in spec.weights.items()},
                methods=frozenset(spec.methods),
                exact=True,
                shadows={DeploymentId(tag, tag): share for tag, share in spec.shadows.items()},
                name=resource.name,
            )
        )


class TrafficKind:
    """The `ResourceKind` of splits."""

    name = TRAFFIC

    def validate(self, resource: Resource, resources: Resources) -> None:
        """Raise ConfigError when an application of the split does not exist."""
        spec = _spec(resource, TrafficSpec)
        remedy = (
            f"set other traffic, or call serve.delete_traffic({resource.name!r}), before deleting "
            "an application"
        )
        needed = {*spec.weights, *spec.shadows}
        _check_exist(f"the traffic of {resource.name}", APPLICATION, needed, resources, remedy)

    def expand(self, resource: Resource) -> Expansion:
        """Return the route of the split, which overrides the application's route."""
        spec = _spec(resource, TrafficSpec)
        return _one_route(
            Route(
                prefix=resource.name,
                app=spec.main,
                # A target without a name is the application's ingress.
                targets={DeploymentId(app, ""): share for app, share in spec.weights.items()},
                shadows={DeploymentId(app, ""): share for app, share in spec.shadows.items()},
                name=resource.name,
                overrides=True,
            )
        )


def _one_route(route: Route) -> Expansion:
    return Expansion(routes=(route,))


def _spec(resource: Resource, kind: type[SpecT]) -> SpecT:
    if not isinstance(resource.spec, kind):
        raise InternalError(f"{resource.kind} {resource.name} holds {type(resource.spec).__name__}")
    return resource.spec


def _check_exist(
    subject: str, kind: str, needed: Iterable[str], resources: Resources, remedy: str
) -> None:
    existing = [name for other, name in resources if other == kind]
    missing = sorted(set(needed) - set(existing))
    if missing:
        names = " and ".join(map(repr, missing))
        raise ConfigError(
            f"{subject} needs the {kind} {names}; existing: {', '.join(existing) or 'none'}; "
            f"{remedy}."
        )
