"""What this package gives to alacarte: two names in `serve`."""

from __future__ import annotations

from alacarte.hookspecs import hookimpl
from alacarte.types import ApiName

__all__ = ["register_api"]


@hookimpl
def register_api() -> list[ApiName]:
    """Add the names, imported when first used."""
    return [
        ApiName("multiplexed", "alacarte_multiplexing:multiplexed"),
        ApiName("get_multiplexed_model_id", "alacarte_multiplexing:get_multiplexed_model_id"),
    ]
