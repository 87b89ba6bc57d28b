"""The resources of this package, and the deployments and routes that they come down to. Pure."""

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
    """A backend, which is an application of one deployment; both have its tag for a name.

    Attributes:
        made: Tells it from one that somebody else makes in the same moment, of the same code.
    """

    deployment: DeploymentSpec
    config: BackendConfig
    traits: Traits
    made: str = ""

    def configured(self, config: BackendConfig) -> BackendSpec:
        """Return the spec of the same code with other options."""
        wanted = config.deployment_options(is_async=self.traits.is_async)
        options = DeploymentConfig(**{**dict(self.deployment.config), **wanted})
        return replace(self, config=config, deployment=replace(self.deployment, config=options))


@dataclass(frozen=True)
class EndpointSpec:
    """An endpoint.

    Attributes:
        backend: The one it was created with, which has all requests while `traffic` is empty.
        route: Its path; None keeps it off HTTP.
        methods: HTTP methods allowed.
        traffic: Weights that were set, by backend.
        shadows: Share of the requests that each of these backends gets copies of.
        made: As `BackendSpec.made`.
    """

    backend: str
    route: str | None = None
    methods: tuple[str, ...] = ("GET",)
    traffic: Mapping[str, float] = field(default_factory=dict)
    shadows: Mapping[str, float] = field(default_factory=dict)
    made: str = ""

    @property
    def weights(self) -> Mapping[str, float]:
        """The weights that hold, by backend."""
        return self.traffic or {self.backend: 1.0}

    @property
    def backends(self) -> set[str]:
        """All backends that must be there."""
        return {*self.weights, *self.shadows}


@dataclass(frozen=True)
class TrafficSpec:
    """How the requests of an application's path are split; the resource's name is the path.

    Attributes:
        weights: By application.
        shadows: Share of the requests that each of these applications gets copies of.
    """

    weights: Mapping[str, float]
    shadows: Mapping[str, float] = field(default_factory=dict)

    @property
    def main(self) -> str:
        """The application with the greatest weight."""
        return max(self.weights, key=self.weights.__getitem__)


class BackendKind:
    """Backends. A `ResourceKind`."""

    name = BACKEND

    def validate(self, resource: Resource, resources: Resources) -> None:
        """Accept every backend: it needs nothing but its tag."""

    def expand(self, resource: Resource) -> Expansion:
        """Return its deployment."""
        return Expansion((_spec(resource, BackendSpec).deployment,))


class EndpointKind:
    """Endpoints. A `ResourceKind`."""

    name = ENDPOINT

    def validate(self, resource: Resource, resources: Resources) -> None:
        """Raise ConfigError when a backend is not there that the endpoint needs."""
        needed = _spec(resource, EndpointSpec).backends
        what = f"endpoint {resource.name!r}"
        end = f"give {what} other traffic, or delete it, before its backend"
        _check_there(what, BACKEND, needed, resources, end)

    def expand(self, resource: Resource) -> Expansion:
        """Return its route."""
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
    """Splits of the paths of applications. A `ResourceKind`."""

    name = TRAFFIC

    def validate(self, resource: Resource, resources: Resources) -> None:
        """Raise ConfigError when an application is not there that has a part in the split."""
        spec = _spec(resource, TrafficSpec)
        end = f"set other traffic, or serve.delete_traffic({resource.name!r}), before deleting one"
        needed = {*spec.weights, *spec.shadows}
        _check_there(f"the traffic of {resource.name}", APPLICATION, needed, resources, end)

    def expand(self, resource: Resource) -> Expansion:
        """Return the route that goes in front of the application's own."""
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


def _check_there(
    whose: str, kind: str, needed: Iterable[str], resources: Resources, end: str
) -> None:
    there = [name for other, name in resources if other == kind]
    missing = sorted(set(needed) - set(there))
    if missing:
        names = " and ".join(map(repr, missing))
        raise ConfigError(
            f"{whose} needs the {kind} {names}, and there are {', '.join(there) or 'none'}; {end}."
        )
