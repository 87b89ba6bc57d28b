"""Check whether a Ray cluster accepts this process, before Ray's own client connects.

A process joins with the token that Ray keeps for it, as `ray.init` does for a cluster that it has
found itself. When a cluster refuses the token, Ray's client retries for 20 s, and then reports
that there is no cluster.
"""

from __future__ import annotations

from typing import Protocol

from ..errors import ConfigError
from .cluster_protocol import ClusterUnresponsive
from .grpc_probe import GrpcProbeResult, probe

__all__ = ["Tokens", "authenticate"]

_REMEDY = (
    "set RAY_AUTH_TOKEN_PATH (or RAY_AUTH_TOKEN) to that cluster's token, or copy its "
    "~/.ray/auth_token to the same place here"
)


class Tokens(Protocol):
    """The authentication token that Ray has in this process."""

    @property
    def mode(self) -> str:
        """The user's choice in `RAY_AUTH_MODE`, "" for none."""

    def header(self) -> str:
        """Return the header `authorization` with this process's token, "" without a token.

        Raises:
            ConfigError: A token is configured, and cannot be read.
        """

    def enable(self) -> None:
        """Make Ray send the token from now on, in this process and its children."""


def authenticate(address: str, tokens: Tokens, limit_s: float) -> None:
    """Check that a cluster's control store accepts this process, with a token if it needs one.

    Args:
        address: Host and port. Addresses of other forms, such as ray://, are left to Ray.
        tokens: Enabled where the cluster requires a token and the user has not chosen a mode.
        limit_s: How long the control store may take to answer.

    Raises:
        ConfigError: The cluster refuses the token, or requires one and there is none.
        ClusterUnresponsive: The control store is stopped.
        OSError: The connection is refused.
    """
    host, _, port = address.rpartition(":")
    if not port.isdigit() or "/" in host:
        return
    host = host.strip("[]")
    sends = tokens.mode not in ("", "disabled")
    token = tokens.header() if sends else ""
    answer = probe(host, int(port), limit_s, token)
    if answer is GrpcProbeResult.REFUSED and not tokens.mode and (token := tokens.header()):
        answer = probe(host, int(port), limit_s, token)
        if answer is GrpcProbeResult.ACCEPTED:
            tokens.enable()
    if answer is GrpcProbeResult.SILENT:
        raise ClusterUnresponsive(
            f"Ray's control store at {address} accepts connections, but has not answered for "
            f"{limit_s:g} s; check the process gcs_server on Ray's head node."
        )
    if answer is GrpcProbeResult.REFUSED:
        raise ConfigError(f"the Ray cluster at {address} {_refusal(tokens, token)}.")


def _refusal(tokens: Tokens, token: str) -> str:
    if token:
        return f"refused the token of this process: {_REMEDY}"
    if tokens.mode and tokens.mode != "token":
        return (
            f"requires a token, and RAY_AUTH_MODE={tokens.mode} keeps this process from sending "
            "its own: unset RAY_AUTH_MODE"
        )
    return f"requires a token, and this process has none: {_REMEDY}"
