"""Configuration section of this plugin."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["AuditTrailOptions"]


class AuditTrailOptions(BaseModel):
    """Options of this plugin.

    Attributes:
        enabled: Whether to record the calls that replicas run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    enabled: bool = False
