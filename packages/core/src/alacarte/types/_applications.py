"""Table of applications: names and their ingress deployments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ._deployment_info import DeploymentInfo

__all__ = ["ApplicationInfo", "ApplicationTable"]


@dataclass(frozen=True)
class ApplicationInfo:
    """An application, with or without a route.

    Attributes:
        name: Unique in the instance.
        ingress: The deployment that receives the application's requests.
    """

    name: str
    ingress: DeploymentInfo


@dataclass(frozen=True)
class ApplicationTable:
    """All applications at one moment. A higher version is newer.

    Attributes:
        version: Version of the route table that was published with this table.
        applications: By name.
    """

    version: int
    applications: Mapping[str, ApplicationInfo] = field(default_factory=dict)
