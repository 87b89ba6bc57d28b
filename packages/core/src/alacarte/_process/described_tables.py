"""Route and application tables for plugins, built from the controller's snapshots."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..actors import RoutedDeployment, TableSnapshot
from ..types import ApplicationInfo, DeploymentId, DeploymentInfo, RouteTable

__all__ = ["DescribedTables"]

Describe = Callable[[DeploymentId, str, Mapping[str, object]], DeploymentInfo]


class DescribedTables:
    """Builds route tables. The infos of unchanged deployments stay the same objects.

    Args:
        describe: Returns the info of a deployment, from its id, code version and options.
    """

    def __init__(self, describe: Describe) -> None:
        self._describe = describe
        self._deployments: Mapping[DeploymentId, RoutedDeployment] = {}
        self._infos: dict[DeploymentId, DeploymentInfo] = {}

    def table(self, snapshot: TableSnapshot) -> RouteTable:
        """Return the route table of a newer snapshot."""
        self._infos = {
            deployment: self._infos[deployment]
            if self._deployments.get(deployment) == routed
            else self._describe(deployment, *routed)
            for deployment, routed in snapshot.deployments.items()
        }
        self._deployments = snapshot.deployments
        applications = {
            name: ApplicationInfo(name, self._infos[ingress])
            for name, ingress in snapshot.ingresses.items()
        }
        return RouteTable(
            snapshot.version, snapshot.routes, snapshot.starting, applications, self._infos
        )
