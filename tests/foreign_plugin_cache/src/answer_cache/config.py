"""The option of deployments that is ours."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["CacheOptions"]


class CacheOptions(BaseModel):
    """Whether and how the answers of a deployment are kept.

    Attributes:
        ttl_s: How long an answer is kept, in seconds.
        max_answers: Answers that each calling process keeps; the least recently used go first.
        max_answer_bytes: The longest answer that is kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    ttl_s: float = Field(gt=0)
    max_answers: int = Field(1000, ge=1)
    max_answer_bytes: int = Field(64 * 1024, ge=1)
