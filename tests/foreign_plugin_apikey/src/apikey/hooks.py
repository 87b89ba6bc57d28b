"""Hook implementations of this package. Other modules are imported on use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alacarte.hookspecs import hookimpl
from alacarte.types import ConfigSection, ConfigSections, StagedLayer

if TYPE_CHECKING:
    from alacarte_http.layers import HttpLayer, HttpRoute

__all__: list[str] = []


@hookimpl
def register_config() -> list[ConfigSection]:
    return [ConfigSection("apikey", "apikey.config:ApiKeyOptions")]


@hookimpl
def wrap_http(route: HttpRoute, config: ConfigSections) -> StagedLayer[HttpLayer] | None:
    section = config.section("apikey")
    if not section.enabled:
        return None
    from .layer import require_key

    keys = section.operators
    if route.kind == "application":
        keys = section.keys.get(route.application, {})
    return StagedLayer("authentication", require_key(keys), task_free=True)
