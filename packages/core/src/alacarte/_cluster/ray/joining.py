"""Find a Ray cluster, and connect this process to a cluster."""

from __future__ import annotations

import logging
import os
import sys

import ray

from ...errors import ConfigError
from ..token_check import authenticate
from .internals import STORE_TIMEOUT_S, RayTokens, address_of, keep_log_lines, quiet_about_tokens

__all__ = ["NAMESPACE", "find", "join"]

NAMESPACE = "alacarte"


def join(address: str | None, *, only_running: bool) -> bool:
    """Connect this process to Ray; start Ray on this machine when none runs.

    Args:
        address: As `ray.init` takes it; None for `RAY_ADDRESS`, else a running local
            cluster, else a new one.
        only_running: Connect to a running cluster, or not at all.

    Returns:
        Whether this process is connected.

    Raises:
        ConfigError: No cluster answers at the address, or it refuses this process's token.
        ClusterUnresponsive: The cluster's control store is stopped.
    """
    if not ray.is_initialized():
        found = find(address, any_here=only_running)
        if found is None and only_running:
            return False
        if "NO_COLOR" in os.environ or not sys.stdout.isatty():
            os.environ.setdefault("RAY_COLOR_PREFIX", "0")  # for the log lines of Ray's workers
        with quiet_about_tokens():
            try:
                keep_log_lines()
                ray.init(
                    address=found or "local",
                    namespace=NAMESPACE,
                    logging_level=logging.WARNING,
                    include_dashboard=False,
                    log_to_driver=True,
                )
            except ConnectionError as error:
                raise ConfigError(_no_cluster(found, error)) from None
    return True


def find(address: str | None, *, any_here: bool) -> str | None:
    """Return the address of a running cluster that accepts this process; None if none runs.

    Some clusters require a token. Where the user has not chosen a mode (`RAY_AUTH_MODE`), the
    cluster decides whether this process sends the token that Ray keeps for it.

    Args:
        address: As for `join`. A cluster that is named, here or in `RAY_ADDRESS`, must answer.
        any_here: Consider all clusters on this machine, not only the latest.

    Raises:
        ConfigError: No cluster answers at the address, or it refuses this process's token; or
            several clusters run on this machine.
        ClusterUnresponsive: The cluster's control store is stopped.
    """
    named = address or ""
    if named in ("", "auto"):
        named = os.environ.get("RAY_ADDRESS", "")
    if named == "local":
        return None
    search = "auto" if any_here or "auto" in (address, named) else None
    named = "" if named == "auto" else named
    try:
        # "auto" and None both mean RAY_ADDRESS first.
        found = named if "://" in named else address_of(named or search)
        if found is not None:
            authenticate(found, RayTokens(), STORE_TIMEOUT_S)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{named!r} is not an address of a Ray cluster: {error}") from None
    except OSError as error:  # ConnectionError is one
        if named or (search and not any_here):
            raise ConfigError(_no_cluster(named or search, error)) from None
        return None  # none runs; a cluster that has ended may have left its address behind
    return found


def _no_cluster(address: str | None, error: OSError) -> str:
    return (
        f"no Ray cluster answers at {address!r}: {error}. Correct the address, or start Ray there "
        "with `ray start --head`."
    )
