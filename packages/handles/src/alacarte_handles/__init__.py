"""Handles: call deployments from Python, inside the cluster and outside."""

from .__about__ import __version__
from ._broadcast import DeploymentBroadcastResponse
from ._handle import DeploymentHandle
from ._lookup import get_app_handle, get_deployment_handle
from ._response import DeploymentResponse, DeploymentResponseGenerator

__all__ = [
    "DeploymentBroadcastResponse",
    "DeploymentHandle",
    "DeploymentResponse",
    "DeploymentResponseGenerator",
    "__version__",
    "get_app_handle",
    "get_deployment_handle",
]
