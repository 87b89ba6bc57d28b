"""The section of the configuration that is ours."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["GrpcOptions"]


class GrpcOptions(BaseModel):
    """Options of the gRPC ingress.

    Attributes:
        host: Address to listen on.
        port: 0 for a free one, which `serve.status().services` shows; None for no gRPC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    host: str = "127.0.0.1"
    port: int | None = Field(default=None, ge=0, le=65535)
