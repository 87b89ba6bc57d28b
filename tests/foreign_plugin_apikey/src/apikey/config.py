"""Configuration section of this plugin."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

__all__ = ["ApiKeyOptions"]


class ApiKeyOptions(BaseModel):
    """Options of this plugin.

    Attributes:
        enabled: Whether requests need keys.
        keys: For each application the digests of its keys, each with the name of its owner. An
            application without keys takes no request.
        operators: Digests of the keys for the proxy's own paths, each with the name of its owner.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    enabled: bool = False
    keys: Mapping[str, Mapping[str, str]] = {}
    operators: Mapping[str, str] = {}
