"""From the name of an application to its ingress deployment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ._deployment_info import DeploymentInfo

__all__ = ["ApplicationInfo", "ApplicationTable"]


@dataclass(frozen=True)
class ApplicationInfo:
    """One application, whether it has a route or not.

    Attributes:
        name: Unique in the instance.
        ingress: The deployment that takes the application's requests.
    """

    name: str
    ingress: DeploymentInfo


@dataclass(frozen=True)
class ApplicationTable:
    """All applications at one moment. A higher version is newer.

    Attributes:
        version: That of the route table which was published with this one.
        applications: By name.
    """

    version: int
    applications: Mapping[str, ApplicationInfo] = field(default_factory=dict)
