"""The `http` section of the configuration."""

from __future__ import annotations

import ipaddress
import os
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = ["AccessLog", "HTTPOptions", "ProxyLocation"]

KIB = 1024
MIB = 1024 * KIB
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ProxyLocation(StrEnum):
    """Where HTTP proxies run."""

    DISABLED = "Disabled"
    HEAD_ONLY = "HeadOnly"
    EVERY_NODE = "EveryNode"


def _default_host() -> str:
    return os.environ.get("RAY_SERVE_DEFAULT_HTTP_HOST") or "127.0.0.1"


class AccessLog(StrEnum):
    """How each request is noted."""

    OFF = "off"
    TEXT = "text"
    JSON = "json"


class HTTPOptions(BaseModel):
    """How HTTP is served. Fixed when an instance starts.

    Limits and counts hold for each proxy process. Times are in seconds.

    Attributes:
        host: Address to listen on; None runs no proxy. Beyond this machine only with
            `ssl_ca_certs` or `insecure`: Ray's token guards the cluster, not HTTP.
        port: TCP port to listen on; 0 takes a free one, which `serve.status()` tells.
        root_path: Put in front of the `root_path` that applications see, when a server before
            this one strips a prefix.
        request_timeout_s: Time for a response to begin; None for no limit. Then 504. A client
            can shorten it with the header `x-request-timeout-seconds`.
        keep_alive_timeout_s: How long an idle connection stays open.
        location: Where proxies run.
        workers: Proxy processes on each node; they share one port.
        ssl_keyfile: Private key in PEM format; with `ssl_certfile` it turns TLS on.
        ssl_certfile: Certificate chain in PEM format.
        ssl_keyfile_password: Of the private key.
        ssl_ca_certs: Clients must show a certificate that one of these authorities signed.
        max_request_line_bytes: Method, target and version. More is answered 414.
        max_header_bytes: All header fields of a request together. More is answered 431.
        max_header_fields: How many. More is answered 431.
        max_body_bytes: Of a request; None for no limit. More is answered 413.
        max_websocket_message_bytes: More closes the WebSocket with code 1009.
        max_connections: Open at a time. One more closes the connection that has idled longest.
        max_concurrent_requests: In progress at a time. One more is answered 503.
        receive_head_timeout_s: Time for a request's head to arrive. Then 408.
        receive_body_timeout_s: Time without any progress of a request's body. Then 408.
        send_timeout_s: Time that a client may leave a response unread. Then its connection is
            closed.
        retry_methods: Methods of which every application's handlers may run more than once for
            one request: when a replica is lost before its response has begun, such a request is
            sent to another one, once more, unless its body was a stream that has begun.
            In the environment, with commas in between.
        access_log: Note each request, as text or as JSON.
        access_log_path: File to append to; "" for the proxy's standard output.
        expose_routes: Answer `/-/routes`; by default only on an address that no other machine
            can reach.
        routes_hosts: Names for which `/-/routes` is answered, as they stand in the header `Host`,
            besides `localhost`, IP addresses and `host`. Others are answered 403, so that no page
            in a browser reads them by a name of its own (DNS rebinding). In the environment, with
            commas in between.
        allow_disconnect_disabled: Let a client ask with `x-request-disconnect-disabled: ?1` that
            its request is finished even when it hangs up. Such a client holds a replica's slot
            without holding a connection, so allow it only where you know the clients.
        insecure: Allow a `host` that other machines can reach, though the proxy asks no client who
            it is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str | None = Field(default_factory=_default_host)
    port: int = Field(8000, ge=0, le=65535)
    root_path: str = ""
    request_timeout_s: Seconds | None = None
    keep_alive_timeout_s: Seconds = 90.0
    location: ProxyLocation = ProxyLocation.EVERY_NODE
    workers: int = Field(1, ge=1, le=64)
    ssl_keyfile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile_password: str | None = Field(None, repr=False)
    ssl_ca_certs: str | None = None
    max_request_line_bytes: int = Field(16 * KIB, ge=64, le=MIB)
    max_header_bytes: int = Field(64 * KIB, ge=256, le=16 * MIB)
    max_header_fields: int = Field(128, ge=1, le=10_000)
    max_body_bytes: int | None = Field(64 * MIB, ge=0)
    max_websocket_message_bytes: int = Field(16 * MIB, ge=1)
    max_connections: int = Field(10_000, ge=1)
    max_concurrent_requests: int = Field(10_000, ge=1)
    receive_head_timeout_s: Seconds = 10.0
    receive_body_timeout_s: Seconds = 20.0
    send_timeout_s: Seconds = 30.0
    retry_methods: tuple[str, ...] = ()
    access_log: AccessLog = AccessLog.OFF
    access_log_path: str = ""
    expose_routes: bool | None = None
    routes_hosts: tuple[str, ...] = ()
    allow_disconnect_disabled: bool = False
    insecure: bool = False

    @field_validator("location", mode="before")
    @classmethod
    def _old_name(cls, value: Any) -> Any:
        return ProxyLocation.DISABLED if value == "NoServer" else value

    @field_validator("retry_methods", "routes_hosts", mode="before")
    @classmethod
    def _from_environment(cls, value: Any) -> Any:
        return [name for name in value.split(",") if name] if isinstance(value, str) else value

    @field_validator("retry_methods")
    @classmethod
    def _methods(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for method in value:
            if not method.isascii() or not method.isalpha() or method != method.upper():
                raise ValueError(f"{method!r} is no HTTP method; write them as in ('GET', 'HEAD')")
        return value

    @field_validator("root_path")
    @classmethod
    def _root_path(cls, value: str) -> str:
        if value and (not value.startswith("/") or value.endswith("/")):
            raise ValueError("must begin with '/' and not end with one")
        return value

    @model_validator(mode="after")
    def _key_and_certificate(self) -> HTTPOptions:
        if (self.ssl_keyfile is None) != (self.ssl_certfile is None):
            raise ValueError("ssl_keyfile and ssl_certfile belong together: set both or neither")
        if self.ssl_ca_certs is not None and self.ssl_certfile is None:
            raise ValueError("ssl_ca_certs needs ssl_keyfile and ssl_certfile")
        return self

    @model_validator(mode="before")
    @classmethod
    def _no_host(cls, values: Any) -> Any:
        if isinstance(values, dict) and "host" in values and values["host"] is None:
            return {**values, "location": ProxyLocation.DISABLED}
        return values

    @property
    def shows_routes(self) -> bool:
        """Whether `/-/routes` is answered."""
        if self.expose_routes is not None:
            return self.expose_routes
        return self.host is not None and is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
