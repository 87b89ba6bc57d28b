"""A plugin whose layer cannot be made for one application; see test_failing_plugin.py."""

from __future__ import annotations

from alacarte.hookspecs import hookimpl
from alacarte.types import DeploymentInfo

__all__: list[str] = []


@hookimpl
def wrap_caller(deployment: DeploymentInfo) -> None:
    if deployment.id.app == "bad":
        raise KeyError("auth config missing")
