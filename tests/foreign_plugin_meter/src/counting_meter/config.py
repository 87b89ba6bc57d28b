"""The section `counting_meter` of the configuration."""

from __future__ import annotations

from pydantic import BaseModel

__all__ = ["CountingMeterOptions"]


class CountingMeterOptions(BaseModel, frozen=True, extra="forbid"):
    """Whether requests are counted."""

    enabled: bool = False
