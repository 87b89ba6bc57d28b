"""Resources that users deploy, and the plugins' kinds of resources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ._app_routes import Route


@dataclass(frozen=True)
class Resource:
    """A deployed object, such as an application. The controller stores it without reading its spec.

    Attributes:
        kind: Name of the `ResourceKind` that reads the spec.
        name: Unique within the kind.
        spec: The specification of the resource. Must pickle, without references to user code.
    """

    kind: str
    name: str
    spec: Any


@dataclass(frozen=True)
class Expansion:
    """The deployments and routes of a resource."""

    deployments: tuple[Any, ...] = ()
    routes: tuple[Route, ...] = ()


Resources = Mapping[tuple[str, str], Resource]
"""All desired resources, by kind and name."""


class ResourceKind(Protocol):
    """Validates and expands resources of one kind. Pure: no I/O, no clock."""

    name: str

    def validate(self, resource: Resource, resources: Resources) -> None:
        """Raise ConfigError when `resource` conflicts with the other desired resources.

        Called for every resource at every change, so also when another resource that this one
        needs is about to be deleted. Core itself refuses equal deployments, names and paths.
        """

    def expand(self, resource: Resource) -> Expansion:
        """Return the deployments and routes of `resource`."""
