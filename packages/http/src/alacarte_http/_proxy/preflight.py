"""Checks of a proxy's options before the proxy starts."""

from __future__ import annotations

from alacarte.errors import ConfigError

from ..config import HTTPOptions, is_loopback
from .shared_socket import listening_socket
from .tls_context import server_context

__all__ = ["check_exposure", "check_listening"]


def check_listening(options: HTTPOptions) -> None:
    """Listen for a moment on this machine as a proxy with these options would.

    Raises:
        ConfigError: The port is in use, the address is not this machine's or not allowed, or a
            certificate cannot be read.
    """
    check_exposure(options)
    server_context(options)
    assert options.host is not None, "without a host, no proxy runs"
    listening_socket(options.host, options.port).close()


def check_exposure(options: HTTPOptions) -> None:
    """Check that other machines cannot send unauthenticated requests, unless `insecure` is set.

    Ray's token does not help: it protects the cluster, and HTTP clients do not send it.

    Raises:
        ConfigError: Other machines can reach the address, and clients are not authenticated.
    """
    assert options.host is not None, "without a host, no proxy runs"
    if options.insecure or options.ssl_ca_certs is not None or is_loopback(options.host):
        return
    raise ConfigError(
        f"http: host={options.host!r} accepts requests from other machines without "
        "authentication (Ray's token protects the cluster, not HTTP). Set ssl_ca_certs to require "
        "client certificates, or set insecure=True (`alacarte run --insecure`) if your "
        "application or a server in front of the proxy authenticates clients."
    )
