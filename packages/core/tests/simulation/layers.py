"""A plugin of every simulated process: callers mark each call, replicas accept marked ones only.

The mark is an option of the deployment, which changes during the run. So a call that bypasses its
layer is found, however early it comes.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from alacarte.hookspecs import hookimpl
from alacarte.types import Call, ConfigSection, DeploymentInfo, Layer, Reply, Service, StagedLayer

__all__ = ["MarkOptions", "UnmarkedCall"]


class MarkOptions(BaseModel):
    """The option `mark` of deployments."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    number: int


class UnmarkedCall(Exception):
    """A call has passed by the caller's layer."""


@hookimpl
def register_config() -> list[ConfigSection]:
    return [ConfigSection("mark", f"{__name__}:MarkOptions", scope="deployment")]


@hookimpl
def wrap_caller(deployment: DeploymentInfo) -> StagedLayer[Layer] | None:
    mark = deployment.options("mark")
    if mark is None:
        return None

    def wrap(service: Service) -> Service:
        async def serve(call: Call) -> Reply:
            call.routing_key = f"mark {mark.number}"
            return await service(call)

        return serve

    return StagedLayer("observation", wrap, task_free=mark.number % 2 == 0)


@hookimpl
def wrap_replica(deployment: DeploymentInfo) -> Layer | None:
    if deployment.options("mark") is None:
        return None

    def wrap(service: Service) -> Service:
        async def serve(call: Call) -> Reply:
            if not call.routing_key.startswith("mark "):
                raise UnmarkedCall(str(deployment))
            return await service(call)

        return serve

    return wrap
