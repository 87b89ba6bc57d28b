"""Finding a Ray cluster, and connecting this process to one."""

from __future__ import annotations

import logging
import os
import sys

import ray

from ...errors import ConfigError
from ..token_check import admit
from .internals import ANSWER_S, RayTokens, address_of, keep_log_lines, quiet_about_tokens

__all__ = ["NAMESPACE", "find", "join"]

NAMESPACE = "alacarte"


def join(address: str | None, *, only_running: bool) -> bool:
    """Connect this process to Ray, which is started here when none runs.

    Args:
        address: As `ray.init` takes it; None for `RAY_ADDRESS`, else a running local
            cluster, else a new one.
        only_running: Start no cluster.

    Returns:
        Whether this process is connected.

    Raises:
        ConfigError: No cluster answers at the address, or it refuses this process's token.
        ClusterUnresponsive: The control store there is stopped.
    """
    if not ray.is_initialized():
        found = find(address, any_here=only_running)
        if found is None and only_running:
            return False
        if "NO_COLOR" in os.environ or not sys.stdout.isatty():
            os.environ.setdefault("RAY_COLOR_PREFIX", "0")  # of its workers' lines
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
                raise ConfigError(f"no Ray cluster answers at {found!r}: {error}") from None
    return True


def find(address: str | None, *, any_here: bool) -> str | None:
    """Return the address of a running cluster that lets this process in; None for none.

    A cluster asks for a token or does not; where the user has not chosen (`RAY_AUTH_MODE`),
    the cluster decides whether this process sends the one that Ray keeps for it.

    Args:
        address: As `join` takes it. One that is named, here or in `RAY_ADDRESS`, must
            answer.
        any_here: Consider every cluster on this machine, not only the one started last.

    Raises:
        ConfigError: No cluster answers at the address, or it refuses this process's token; or
            there are several to choose from.
        ClusterUnresponsive: The control store there is stopped.
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
            admit(found, RayTokens(), ANSWER_S)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{named!r} is not an address of a Ray cluster: {error}") from None
    except OSError as error:  # ConnectionError is one
        if named or (search and not any_here):
            where = named or search
            raise ConfigError(f"no Ray cluster answers at {where!r}: {error}") from None
        return None  # none runs; one that has ended may have left its address behind
    return found
