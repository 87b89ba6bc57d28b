"""Find handles by name."""

from __future__ import annotations

from alacarte.context import current_replica
from alacarte.errors import NotFoundError, ServeError
from alacarte.runtime import get_runtime
from alacarte.types import DeploymentId

from ._handle import DeploymentHandle

__all__ = ["get_app_handle", "get_deployment_handle"]


def get_app_handle(name: str) -> DeploymentHandle:
    """Return a handle to an application's ingress deployment.

    Raises:
        NotFoundError: There is no such application.
    """
    runtime = get_runtime()
    deployments = runtime.deployments_of(name)
    if not deployments:
        raise NotFoundError(f"application {name!r} does not exist; see serve.status().")
    return DeploymentHandle(deployments[0], runtime)


class UnknownDeploymentError(NotFoundError, KeyError):
    """There is no such deployment. A KeyError as well, as in Ray Serve."""

    __str__ = Exception.__str__


def get_deployment_handle(
    deployment_name: str, app_name: str | None = None, _check_exists: bool = True
) -> DeploymentHandle:
    """Return a handle to a deployment.

    Args:
        app_name: Its application; inside a replica, that replica's own by default.

    Raises:
        ServeError: No application is given, outside of a replica.
        NotFoundError: There is no such deployment (also a KeyError).
    """
    replica = current_replica.get()
    if app_name is None:
        if replica is None:
            raise ServeError("get_deployment_handle() needs app_name outside of a replica.")
        app_name = replica.app_name
    runtime = get_runtime()
    deployment = DeploymentId(app_name, deployment_name)
    if _check_exists:
        known = runtime.deployments_of(app_name)
        if deployment not in known:
            names = ", ".join(sorted(other.name for other in known)) or "none"
            raise UnknownDeploymentError(
                f"application {app_name!r} has no deployment {deployment_name!r}; it has: {names}."
            )
    return DeploymentHandle(deployment, runtime)
