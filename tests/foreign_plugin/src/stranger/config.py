"""The section of the configuration that is ours."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["StrangerOptions"]


class StrangerOptions(BaseModel):
    """Options of this plugin.

    Attributes:
        layers: Put layers around calls.
        greeting: What the caller's layer marks each call with.
        notes: Keep notes on every node.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    layers: bool = False
    greeting: str = "hello"
    notes: bool = False
