"""The hooks of alacarte-handles."""

from __future__ import annotations

from alacarte.hookspecs import hookimpl
from alacarte.types import ApiName, DeploymentId, Handle, Runtime

__all__: list[str] = []


@hookimpl
def register_api() -> list[ApiName]:
    return [
        ApiName("get_app_handle", "alacarte_handles:get_app_handle"),
        ApiName("get_deployment_handle", "alacarte_handles:get_deployment_handle"),
        ApiName("handle.DeploymentHandle", "alacarte_handles:DeploymentHandle"),
        ApiName(
            "handle.DeploymentBroadcastResponse", "alacarte_handles:DeploymentBroadcastResponse"
        ),
        ApiName("handle.DeploymentResponse", "alacarte_handles:DeploymentResponse"),
        ApiName(
            "handle.DeploymentResponseGenerator", "alacarte_handles:DeploymentResponseGenerator"
        ),
    ]


@hookimpl
def make_handle(deployment: DeploymentId, runtime: Runtime | None) -> Handle:
    from ._handle import DeploymentHandle  # only when a handle is made, for a fast start

    return DeploymentHandle(deployment, runtime)
