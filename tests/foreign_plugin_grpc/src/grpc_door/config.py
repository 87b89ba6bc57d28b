"""Configuration section of this plugin."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["GrpcOptions"]


class GrpcOptions(BaseModel):
    """Options of the gRPC ingress.

    Attributes:
        host: Address to listen on.
        port: Port to listen on, 0 for a free port; None for no gRPC. Shown in `serve.status()`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    host: str = "127.0.0.1"
    port: int | None = Field(default=None, ge=0, le=65535)
