"""Whatever a user asks for, and its meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ._app_routes import Route


@dataclass(frozen=True)
class Resource:
    """Something a user asked to exist. The controller stores it and understands none of it.

    Attributes:
        kind: Name of the `ResourceKind` that does.
        name: Unique within the kind.
        spec: Whatever the kind needs; must pickle, and must not hold user code by reference.
    """

    kind: str
    name: str
    spec: Any


@dataclass(frozen=True)
class Expansion:
    """What a resource comes down to: deployments that should exist, and routes to them."""

    deployments: tuple[Any, ...] = ()
    routes: tuple[Route, ...] = ()


Resources = Mapping[tuple[str, str], Resource]
"""All resources that are to exist, by kind and name."""


class ResourceKind(Protocol):
    """Gives meaning to resources of one kind. Pure: no I/O, no clock."""

    name: str

    def validate(self, resource: Resource, resources: Resources) -> None:
        """Raise ConfigError when `resource` cannot exist among all that are to.

        Asked of every resource at every change, so also when another one is about to be deleted
        that this one needs. That no two have the same deployment, name or path is seen to.
        """

    def expand(self, resource: Resource) -> Expansion:
        """Return the deployments and routes that `resource` stands for."""
