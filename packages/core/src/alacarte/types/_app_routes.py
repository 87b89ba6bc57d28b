"""Route table: paths and their deployments."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from ._applications import ApplicationInfo
from ._deployment_id import DeploymentId
from ._deployment_info import DeploymentInfo


@dataclass(frozen=True)
class Route:
    """A route from a path to deployments.

    Attributes:
        prefix: Starts with "/" and does not end with "/", except "/" itself. Matches at segment
            boundaries: "/a" matches "/a" and "/a/b", not "/ab". "" for a route without HTTP, which
            handles call by its name.
        app: Name of the application, or of the resource, that owns the route.
        targets: Deployments and their share of the traffic; shares sum to 1.
        methods: Allowed HTTP methods, None for all.
        exact: Whether the route matches the whole path only.
        shadows: Deployments and the share of requests of which each gets copies, from a plugin's
            layer (`wrap_route`) such as that of alacarte-endpoints.
        name: Name for handles (`DeploymentId("", name)`), unique among routes; "" for none.
        overrides: Whether the route takes precedence over another resource's route of the same
            path. Without it, equal paths conflict; a route with a name cannot be overridden.
        versions: Versions of the deployments' code, set by the controller, so that new code makes
            a new version of the route.
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
        """Digest of the route's targets, weights, shadows and code versions."""
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
        """Whether the route has a name, shadows or several targets."""
        return bool(self.name or self.shadows or len(self.targets) > 1)


@dataclass(frozen=True)
class RouteTable:
    """All routes at one moment. A higher version is newer.

    Attributes:
        starting: Applications whose first replicas are still starting. Calls would wait for them.
        applications: All applications by name, with or without a route.
        deployments: The targets of the routes, and the ingress deployments of all applications.
    """

    version: int
    routes: tuple[Route, ...]
    starting: frozenset[str] = frozenset()
    applications: Mapping[str, ApplicationInfo] = field(default_factory=dict)
    deployments: Mapping[DeploymentId, DeploymentInfo] = field(default_factory=dict)
