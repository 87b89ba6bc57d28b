"""First-party packages and the names that they provide, for errors about missing packages."""

from __future__ import annotations

from ..errors import PluginError

__all__ = ["FIRST_PARTY", "FIRST_PARTY_OPTIONS", "missing_package"]

FIRST_PARTY = {
    "accept_batch": "alacarte-endpoints",
    "BackendConfig": "alacarte-endpoints",
    "CondaEnv": "alacarte-endpoints",
    "batch": "alacarte-batching",
    "python -m alacarte": "alacarte-cli",
    "client": "alacarte-endpoints",
    "connect": "alacarte-endpoints",
    "delete_traffic": "alacarte-endpoints",
    "get_current_backend_tag": "alacarte-endpoints",
    "get_current_replica_tag": "alacarte-endpoints",
    "set_traffic": "alacarte-endpoints",
    "shadow_traffic": "alacarte-endpoints",
    "multiplexed": "alacarte-multiplexing",
    "get_multiplexed_model_id": "alacarte-multiplexing",
    "ingress": "alacarte-http",
    "HTTPOptions": "alacarte-http",
    "config.HTTPOptions": "alacarte-http",
    "autoscaling_config": "alacarte-autoscaling",
    "config.AutoscalingConfig": "alacarte-autoscaling",
    "config.AutoscalingContext": "alacarte-autoscaling",
    "config.AutoscalingPolicy": "alacarte-autoscaling",
    "autoscaling_policy.default_autoscaling_policy": "alacarte-autoscaling",
    "http_options": "alacarte-http",
    "route_prefix": "alacarte-http",
    "handle": "alacarte-handles",
    "get_app_handle": "alacarte-handles",
    "get_deployment_handle": "alacarte-handles",
    "handle.DeploymentHandle": "alacarte-handles",
    "handle.DeploymentResponse": "alacarte-handles",
    "handle.DeploymentResponseGenerator": "alacarte-handles",
}
"""Packages by the name of an attribute of `serve`, an argument, or a command."""


FIRST_PARTY_OPTIONS = frozenset({"autoscaling_config"})
"""The names in `FIRST_PARTY` that are options of a deployment."""


def missing_package(name: str, subject: str) -> PluginError:
    """Return the error for a name that no installed plugin provides.

    Args:
        name: A key of `FIRST_PARTY`, or any other name.
        subject: The use of the name, with which the error begins: "serve.batch".
    """
    package = FIRST_PARTY.get(name)
    if package is None:
        return PluginError(f"{subject}: no installed plugin provides {name!r}.")
    return PluginError(
        f"{subject} needs the package {package}, which is not installed or not loaded. Run "
        f"`pip install {package}`, or in a clone `pip install "
        f"./packages/{package.removeprefix('alacarte-')}`; `alacarte plugins` shows what is loaded."
    )
