"""The hooks of this package: registers `serve.batch`."""

from __future__ import annotations

from alacarte.hookspecs import hookimpl
from alacarte.types import ApiName

__all__ = ["register_api"]


@hookimpl
def register_api() -> list[ApiName]:
    """Register `serve.batch`, imported on first use."""
    return [ApiName("batch", "alacarte_batching:batch")]
