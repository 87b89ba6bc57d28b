"""Option of deployments of this plugin."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["CacheOptions"]


class CacheOptions(BaseModel):
    """Options of the cache of a deployment.

    Attributes:
        ttl_s: Lifetime of an answer, in seconds.
        max_answers: Maximum number of answers per calling process, by least recent use.
        max_answer_bytes: Maximum size of a cached answer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    ttl_s: float = Field(gt=0)
    max_answers: int = Field(1000, ge=1)
    max_answer_bytes: int = Field(64 * 1024, ge=1)
