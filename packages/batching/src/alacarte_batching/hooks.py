"""What this package gives to alacarte: the name `serve.batch`."""

from __future__ import annotations

from alacarte.hookspecs import hookimpl
from alacarte.types import ApiName

__all__ = ["register_api"]


@hookimpl
def register_api() -> list[ApiName]:
    """Add `serve.batch`, imported when first used."""
    return [ApiName("batch", "alacarte_batching:batch")]
