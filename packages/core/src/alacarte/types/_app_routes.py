"""From a path to deployments."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from ._applications import ApplicationInfo
from ._deployment_id import DeploymentId
from ._deployment_info import DeploymentInfo


@dataclass(frozen=True)
class Route:
    """Where requests of a path go.

    Attributes:
        prefix: Starts with "/" and does not end with one, except "/" itself. Matches at
            segment boundaries: "/a" matches "/a" and "/a/b", not "/ab". "" keeps the route off
            HTTP: only handles take it, by its name.
        app: Whose it is: the application, or what else its resource is called.
        targets: Deployments with their share of the traffic; shares sum to 1.
        methods: HTTP methods allowed, None for all.
        exact: Match the whole path only.
        shadows: Deployments that get a copy of this share of the requests, each for itself, by
            the layer of a plugin (`wrap_route`): alacarte-endpoints has one.
        name: Handles call it by this name (`DeploymentId("", name)`); "" for none. Unique among
            routes.
        overrides: It goes in front of another resource's route of the same path, which would be
            refused otherwise; not of one with a name.
        versions: Of the code of its deployments. The controller sets them, so that a route with
            new code is another version of it.
    """

    prefix: str
    app: str
    targets: Mapping[DeploymentId, float]
    methods: frozenset[str] | None = None
    exact: bool = False
    shadows: Mapping[DeploymentId, float] = field(default_factory=dict)
    name: str = ""
    overrides: bool = False
    versions: Mapping[DeploymentId, str] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """A digest of where calls go: it changes with a target, a weight, and with code."""
        parts = [
            f"{kind} {target} {weight!r}"
            for kind, weights in (("target", self.targets), ("shadow", self.shadows))
            for target, weight in sorted(weights.items())
        ]
        parts += [
            f"version {target} {version}" for target, version in sorted(self.versions.items())
        ]
        text = "\n".join([self.name, self.prefix, self.app, *parts])
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    @property
    def is_split(self) -> bool:
        """Whether its calls are more than calls of its only target."""
        return bool(self.name or self.shadows or len(self.targets) > 1)


@dataclass(frozen=True)
class RouteTable:
    """All routes at one moment. A higher version is newer.

    Attributes:
        starting: Applications that have not had a replica yet behind any of the routes, though they
            are to have some. Calls of them would wait for the first one.
        applications: All of them by name, those without a route included.
        deployments: Those that the routes lead to, and the ingresses of all applications.
    """

    version: int
    routes: tuple[Route, ...]
    starting: frozenset[str] = frozenset()
    applications: Mapping[str, ApplicationInfo] = field(default_factory=dict)
    deployments: Mapping[DeploymentId, DeploymentInfo] = field(default_factory=dict)
