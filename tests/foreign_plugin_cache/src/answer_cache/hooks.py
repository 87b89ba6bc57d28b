"""Hook implementations of this package. Other modules are imported on use."""

from __future__ import annotations

from alacarte.hookspecs import hookimpl
from alacarte.types import ConfigSection, DeploymentInfo, Layer, StagedLayer

__all__: list[str] = []


@hookimpl
def register_config() -> list[ConfigSection]:
    return [ConfigSection("cache", "answer_cache.config:CacheOptions", scope="deployment")]


@hookimpl
def wrap_caller(deployment: DeploymentInfo) -> StagedLayer[Layer] | None:
    options = deployment.options("cache")
    if options is None:
        return None
    from .layer import cached
    from .store import AnswerStore

    return StagedLayer("cache", cached(AnswerStore(options)), task_free=True)
