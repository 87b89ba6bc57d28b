"""Lookup of handles by the names of applications and deployments."""

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
        NotFoundError: The application does not exist.
    """
    runtime = get_runtime()
    deployments = runtime.deployments_of(name)
    if not deployments:
        raise NotFoundError(f"application {name!r} does not exist; serve.status() lists them.")
    return DeploymentHandle(deployments[0], runtime)


class UnknownDeploymentError(NotFoundError, KeyError):
    """The deployment does not exist. A KeyError as well, as in Ray Serve."""

    __str__ = Exception.__str__


def get_deployment_handle(
    deployment_name: str, app_name: str | None = None, _check_exists: bool = True
) -> DeploymentHandle:
    """Return a handle to a deployment.

    Args:
        app_name: Application of the deployment; in a replica the replica's own by default.

    Raises:
        ServeError: `app_name` is missing outside of a replica.
        NotFoundError: The deployment does not exist (also a KeyError).
    """
    replica = current_replica.get()
    if app_name is None:
        if replica is None:
            raise ServeError(
                "get_deployment_handle() was called outside of a replica; pass app_name."
            )
        app_name = replica.app_name
    runtime = get_runtime()
    deployment = DeploymentId(app_name, deployment_name)
    if _check_exists:
        known = runtime.deployments_of(app_name)
        if deployment not in known:
            names = ", ".join(sorted(other.name for other in known)) or "none"
            raise UnknownDeploymentError(
                f"application {app_name!r} has no deployment {deployment_name!r}; its deployments "
                f"are: {names}."
            )
    return DeploymentHandle(deployment, runtime)
