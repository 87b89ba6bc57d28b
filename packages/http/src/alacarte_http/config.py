"""The `http` section of the configuration."""

from __future__ import annotations

import ipaddress
import os
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = ["HTTPOptions", "ProxyLocation"]


class ProxyLocation(StrEnum):
    """Where HTTP proxies run."""

    DISABLED = "Disabled"
    HEAD_ONLY = "HeadOnly"
    EVERY_NODE = "EveryNode"


def _default_host() -> str:
    return os.environ.get("RAY_SERVE_DEFAULT_HTTP_HOST") or "127.0.0.1"


class HTTPOptions(BaseModel):
    """How HTTP is served. Fixed when an instance starts.

    Attributes:
        host: Address to listen on; None runs no proxy. Beyond this machine only with
            `insecure`, since whoever reaches the port reaches every application.
        port: TCP port to listen on; 0 takes a free one, which `serve.status()` tells.
        root_path: Put in front of the `root_path` that applications see, when a server before
            this one strips a prefix.
        request_timeout_s: Time for a response to begin, in seconds; None for no limit. Then 504.
        keep_alive_timeout_s: How long an idle connection stays open, in seconds.
        location: Where proxies run.
        insecure: Allow a `host` that other machines can reach, without any authentication.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str | None = Field(default_factory=_default_host)
    port: int = Field(8000, ge=0, le=65535)
    root_path: str = ""
    request_timeout_s: Annotated[float, Field(gt=0)] | None = None
    keep_alive_timeout_s: Annotated[float, Field(gt=0)] = 90.0
    location: ProxyLocation = ProxyLocation.EVERY_NODE
    insecure: bool = False

    @field_validator("location", mode="before")
    @classmethod
    def _old_name(cls, value: Any) -> Any:
        return ProxyLocation.DISABLED if value == "NoServer" else value

    @field_validator("root_path")
    @classmethod
    def _root_path(cls, value: str) -> str:
        if value and (not value.startswith("/") or value.endswith("/")):
            raise ValueError("must begin with '/' and not end with one")
        return value

    @model_validator(mode="before")
    @classmethod
    def _no_host(cls, values: Any) -> Any:
        if isinstance(values, dict) and "host" in values and values["host"] is None:
            return {**values, "location": ProxyLocation.DISABLED}
        return values

    @model_validator(mode="after")
    def _reachable(self) -> HTTPOptions:
        if self.host is not None and not self.insecure and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host!r} can be reached from other machines, and requests are not "
                "authenticated: set insecure=True (`serve run --insecure`) to do so anyway"
            )
        return self


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
