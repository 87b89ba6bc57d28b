"""What can be told of a proxy's options before there is a proxy."""

from __future__ import annotations

from typing import Any

from alacarte.errors import ConfigError

from ..config import is_loopback
from .shared_socket import listening_socket
from .tls import server_context

__all__ = ["check_listening", "refuse_strangers"]


def check_listening(options: Any) -> None:
    """Try on this machine what a proxy with these options does first.

    Raises:
        ConfigError: The port is in use, the address is not this machine's or not allowed, or a
            certificate cannot be read.
    """
    refuse_strangers(options)
    server_context(options)
    listening_socket(options.host, options.port).close()


def refuse_strangers(options: Any) -> None:
    """Refuse to listen where anybody could send requests, unless that was asked for.

    Ray's token changes nothing: it guards the cluster, and no HTTP client is asked for it.

    Raises:
        ConfigError: Other machines reach the address, and nobody asks them who they are.
    """
    if options.insecure or options.ssl_ca_certs is not None or is_loopback(options.host):
        return
    raise ConfigError(
        f"http: host={options.host!r} can be reached from other machines, and the proxy asks no "
        "client who it is (Ray's token guards the cluster, not HTTP). Set ssl_ca_certs to ask for "
        "certificates; or insecure=True (`alacarte run --insecure`) where a server in front of the "
        "proxy, or your application, does."
    )
