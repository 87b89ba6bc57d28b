"""The parameters of the policy."""

from __future__ import annotations

from pydantic import BaseModel, Field

__all__ = ["PeakEwmaParameters"]


class PeakEwmaParameters(BaseModel, frozen=True, extra="forbid"):
    """Given beside the policy's name.

    Attributes:
        decay_s: After so long, a call's time counts for a third.
        failure_s: A call that fails counts as one that took so long.
    """

    decay_s: float = Field(10.0, gt=0)
    failure_s: float = Field(5.0, ge=0)
