"""The hooks of this package: registers two names in `serve`."""

from __future__ import annotations

from alacarte.hookspecs import hookimpl
from alacarte.types import ApiName

__all__ = ["register_api"]


@hookimpl
def register_api() -> list[ApiName]:
    """Register the names, imported on first use."""
    return [
        ApiName("multiplexed", "alacarte_multiplexing:multiplexed"),
        ApiName("get_multiplexed_model_id", "alacarte_multiplexing:get_multiplexed_model_id"),
    ]
