"""Find out whether a Ray cluster lets this process in, before Ray's own client tries.

A process joins with the token that Ray keeps for it, as `ray.init` does for a cluster that it has
found itself. That client asks a cluster which refuses its token for 20 s, and then reports that
there is none.
"""

from __future__ import annotations

from typing import Protocol

from ..errors import ConfigError
from .cluster_protocol import ClusterUnresponsive
from .grpc_probe import ProbeResult, probe

__all__ = ["Tokens", "admit"]

_REMEDY = (
    "set RAY_AUTH_TOKEN_PATH (or RAY_AUTH_TOKEN) to that cluster's token, or copy its "
    "~/.ray/auth_token to the same place here"
)


class Tokens(Protocol):
    """What Ray in this process knows of tokens."""

    @property
    def mode(self) -> str:
        """What the user chose in `RAY_AUTH_MODE`, "" for nothing."""

    def header(self) -> str:
        """Return the header `authorization` with this process's token, "" where it has none.

        Raises:
            ConfigError: A token is configured, and cannot be read.
        """

    def enable(self) -> None:
        """Have Ray send the token from now on, here and in processes of this one."""


def admit(address: str, tokens: Tokens, limit_s: float) -> None:
    """Return once a cluster's control store has accepted this process, with a token if need be.

    Args:
        address: Its host and port. Others, as of Ray's client, are Ray's to check.
        tokens: Are switched on where the cluster asks for one and the user has not chosen.
        limit_s: How long the control store may take to answer.

    Raises:
        ConfigError: The cluster refuses the token, or asks for one and there is none.
        ClusterUnresponsive: The control store is stopped.
        OSError: Nobody listens there.
    """
    host, _, port = address.rpartition(":")
    if not port.isdigit() or "/" in host:
        return
    host = host.strip("[]")
    sends = tokens.mode not in ("", "disabled")
    token = tokens.header() if sends else ""
    answer = probe(host, int(port), limit_s, token)
    if answer is ProbeResult.REFUSED and not tokens.mode and (token := tokens.header()):
        answer = probe(host, int(port), limit_s, token)
        if answer is ProbeResult.ACCEPTED:
            tokens.enable()
    if answer is ProbeResult.SILENT:
        raise ClusterUnresponsive(
            f"Ray's control store at {address} takes connections, and has not said anything for "
            f"{limit_s:g} s; see to the process gcs_server on Ray's head node."
        )
    if answer is ProbeResult.REFUSED:
        raise ConfigError(f"the Ray cluster at {address} {_refusal(tokens, token)}.")


def _refusal(tokens: Tokens, token: str) -> str:
    if token:
        return f"refused the token of this process: {_REMEDY}"
    if tokens.mode and tokens.mode != "token":
        return (
            f"asks for a token, and RAY_AUTH_MODE={tokens.mode} keeps this process from sending "
            "its own: unset RAY_AUTH_MODE"
        )
    return f"asks for a token, and this process has none: {_REMEDY}"
