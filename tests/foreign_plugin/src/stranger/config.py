"""Configuration section of this plugin."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["StrangerOptions"]


class StrangerOptions(BaseModel):
    """Options of this plugin.

    Attributes:
        layers: Whether to add layers around calls.
        greeting: Prefix of the routing key that the caller layer sets.
        notes: Whether to run the node service.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    layers: bool = False
    greeting: str = "hello"
    notes: bool = False
