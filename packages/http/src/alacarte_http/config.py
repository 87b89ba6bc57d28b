"""The `http` section of the configuration."""

from __future__ import annotations

import ipaddress
import os
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = ["AccessLog", "HTTPOptions", "ProxyLocation"]

KIB = 1024
MIB = 1024 * KIB
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ProxyLocation(StrEnum):
    """The nodes on which HTTP proxies run."""

    DISABLED = "Disabled"
    HEAD_ONLY = "HeadOnly"
    EVERY_NODE = "EveryNode"


def _default_host() -> str:
    return os.environ.get("RAY_SERVE_DEFAULT_HTTP_HOST") or "127.0.0.1"


class AccessLog(StrEnum):
    """Formats of the access log."""

    OFF = "off"
    TEXT = "text"
    JSON = "json"


class HTTPOptions(BaseModel):
    """Options of the HTTP proxies, fixed when an instance starts.

    Limits and counts apply to each proxy process. Times are in seconds.

    Attributes:
        host: Address to listen on; None runs no proxy. An address that other machines can reach
            needs `ssl_ca_certs` or `insecure`: Ray's token protects the cluster, not HTTP.
        port: TCP port to listen on; 0 chooses a free port, shown by `serve.status()`.
        root_path: Prefix of the `root_path` that applications see; set it if a server in front of
            the proxy strips a prefix.
        request_timeout_s: Time for a response to begin, after which the client gets 504; None for
            no limit. A client can shorten it with the header `x-request-timeout-seconds`.
        keep_alive_timeout_s: Time after which an idle connection is closed.
        location: Nodes on which proxies run.
        workers: Proxy processes on each node; they share one port.
        ssl_keyfile: Private key in PEM format; with `ssl_certfile` it enables TLS.
        ssl_certfile: Certificate chain in PEM format.
        ssl_keyfile_password: Password of the private key.
        ssl_ca_certs: Certificates of authorities; clients must present a certificate that one of
            them has signed.
        max_request_line_bytes: Maximum size of method, target and version; above it, 414.
        max_header_bytes: Maximum size of all header fields of a request; above it, 431.
        max_header_fields: Maximum number of header fields of a request; above it, 431.
        max_body_bytes: Maximum size of a request's body, None for no limit; above it, 413.
        max_websocket_message_bytes: Maximum size of a message; above it, the WebSocket is closed
            with code 1009.
        max_connections: Maximum number of open connections; above it, the connection that has been
            idle longest is closed.
        max_concurrent_requests: Maximum number of requests in progress; above it, 503.
        receive_head_timeout_s: Time for a request's head to arrive; after it, 408.
        receive_body_timeout_s: Time without progress of a request's body; after it, 408.
        send_timeout_s: Time that a client may leave a response unread; after it, the connection is
            closed.
        retry_methods: Methods whose requests may run twice, in every application: if a replica is
            lost before its response has begun, the request is sent to another replica once, unless
            its body is a stream that has begun. Separated by commas in the environment.
        access_log: Format of the access log.
        access_log_path: File to append to; "" for the proxy's standard output.
        expose_routes: Whether to serve `/-/routes`; by default only if other machines cannot reach
            `host`.
        routes_hosts: Values of the header `Host` for which `/-/routes` is served, besides
            `localhost`, IP addresses and `host`. Other hosts get 403, so that a page in a browser
            cannot read the routes through its own host name (DNS rebinding). Separated by commas
            in the environment.
        allow_disconnect_disabled: Whether a client may send `x-request-disconnect-disabled: ?1`,
            so that its request is finished even if it disconnects. Such a request occupies a
            replica without a connection, so allow this only for clients that you trust.
        insecure: Allow a `host` that other machines can reach without authentication.
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
    def _old_name(cls, value: object) -> object:
        return ProxyLocation.DISABLED if value == "NoServer" else value

    @field_validator("retry_methods", "routes_hosts", mode="before")
    @classmethod
    def _from_environment(cls, value: object) -> object:
        return [name for name in value.split(",") if name] if isinstance(value, str) else value

    @field_validator("retry_methods")
    @classmethod
    def _methods(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for method in value:
            if not method.isascii() or not method.isalpha() or method != method.upper():
                raise ValueError(
                    f"{method!r} is not an HTTP method; write methods as in ('GET', 'HEAD')"
                )
        return value

    @field_validator("root_path")
    @classmethod
    def _root_path(cls, value: str) -> str:
        if value and (not value.startswith("/") or value.endswith("/")):
            raise ValueError("must begin with '/' and must not end with '/'")
        return value

    @model_validator(mode="after")
    def _key_and_certificate(self) -> HTTPOptions:
        if (self.ssl_keyfile is None) != (self.ssl_certfile is None):
            raise ValueError("set both ssl_keyfile and ssl_certfile, or neither")
        if self.ssl_ca_certs is not None and self.ssl_certfile is None:
            raise ValueError("ssl_ca_certs needs ssl_keyfile and ssl_certfile")
        return self

    @model_validator(mode="before")
    @classmethod
    def _no_host(cls, values: object) -> object:
        if isinstance(values, dict) and "host" in values and values["host"] is None:
            return {**values, "location": ProxyLocation.DISABLED}
        return values

    @property
    def shows_routes(self) -> bool:
        """Whether the proxy serves `/-/routes`."""
        if self.expose_routes is not None:
            return self.expose_routes
        return self.host is not None and is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Return whether only this machine can connect to `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
