"""Parameters of the policy."""

from __future__ import annotations

from pydantic import BaseModel, Field

__all__ = ["PeakEwmaParameters"]


class PeakEwmaParameters(BaseModel, frozen=True, extra="forbid"):
    """Parameters in `routing_policy={"name": "peak_ewma", ...}`.

    Attributes:
        decay_s: Time after which a call's duration counts for a third.
        failure_s: Minimum duration to count for a failed call.
    """

    decay_s: float = Field(10.0, gt=0)
    failure_s: float = Field(5.0, ge=0)
