"""Uses of Ray's private API, which any release of Ray may change. No other module has any."""

from __future__ import annotations

import contextlib
import logging
import math
import os
from collections.abc import Iterator
from typing import Any

import ray
from ray._private.services import (
    canonicalize_bootstrap_address,
    find_bootstrap_address,
    find_gcs_addresses,
)
from ray._raylet import (  # type: ignore[attr-defined]
    IMPLICIT_RESOURCE_PREFIX,
    AuthenticationTokenLoader,
    Config,
    PlacementGroupID,
)
from ray.core.generated.gcs_pb2 import GcsNodeInfo  # type: ignore[attr-defined]
from ray.util.placement_group import PlacementGroup, placement_group_table

from ...errors import ConfigError
from .error_cause import first_line

__all__ = [
    "IMPLICIT_RESOURCE_PREFIX",
    "STORE_TIMEOUT_S",
    "RayTokens",
    "address_of",
    "draining_nodes",
    "groups_named",
    "keep_log_lines",
    "living_nodes",
    "quiet_about_tokens",
    "store",
]

STORE_TIMEOUT_S = 10.0
"""How long Ray's control store may take for an answer, which usually takes half a millisecond."""


def store() -> Any:
    """Return this process's client of Ray's control store, whose calls take a `timeout`."""
    return ray._private.worker.global_worker.gcs_client  # type: ignore[attr-defined]


def living_nodes() -> dict[str, Any]:
    """Return the nodes that are up, by id, as records of Ray's control store."""
    return {
        node_id.hex(): node
        for node_id, node in store().get_all_node_info(timeout=STORE_TIMEOUT_S).items()
        if node.state == GcsNodeInfo.ALIVE
    }


def draining_nodes() -> dict[str, float]:
    """Return the deadlines of draining nodes, by id, in seconds since 1970; `inf` for none."""
    try:
        found = store().get_draining_nodes(timeout=STORE_TIMEOUT_S)
    except AttributeError:  # Ray 2.54 has the method elsewhere, without a timeout
        found = ray._private.state.state.get_draining_nodes()
    # In milliseconds, and 0 for no bound.
    return {node_id: until / 1000 or math.inf for node_id, until in found.items()}


def groups_named(prefix: str) -> list[tuple[str, PlacementGroup]]:
    """Return placement groups, pending ones included, and their names that begin with `prefix`."""
    return [
        (entry["name"], PlacementGroup(PlacementGroupID.from_hex(group_id)))
        for group_id, entry in placement_group_table().items()
        if entry["name"].startswith(prefix) and entry["state"] != "REMOVED"
    ]


def keep_log_lines() -> None:
    """Make Ray show this program every log line, unless the user has set `RAY_DEDUP_LOGS`.

    Ray holds back lines that another process has printed within five seconds, and shows them
    later with a count. When two replicas print the same traceback, half of its lines are missing.
    """
    if "RAY_DEDUP_LOGS" not in os.environ:
        # Ray read the variable when it was imported.
        ray._private.ray_logging.RAY_DEDUP_LOGS = False  # type: ignore[attr-defined]


class RayTokens:
    """Ray's own implementation of `Tokens`."""

    @property
    def mode(self) -> str:
        return os.environ.get("RAY_AUTH_MODE", "").lower()

    def header(self) -> str:
        try:
            loader = AuthenticationTokenLoader.instance()
            found = loader.get_token_for_http_header(ignore_auth_mode=True)
        except Exception as error:  # Ray's AuthenticationError, from a module of its own
            raise ConfigError(f"Ray cannot read the token: {first_line(error)}") from None
        return str(found.get("authorization", ""))

    def enable(self) -> None:
        os.environ["RAY_AUTH_MODE"] = "token"
        Config.initialize("")  # Ray has read its environment already


def address_of(cluster: str | None) -> str | None:
    """Return the host and port of a cluster as Ray finds it; None stands for the latest one."""
    clear_cache = getattr(find_gcs_addresses, "cache_clear", None)
    if clear_cache is not None:  # some versions of Ray cache their search of this machine
        clear_cache()
    if cluster == "auto" and not os.environ.get("RAY_ADDRESS"):
        running = find_gcs_addresses()  # type: ignore[no-untyped-call]
        if len(running) > 1 and find_bootstrap_address(None) is None:
            raise ConfigError(
                f"{len(running)} Ray clusters run on this machine: {', '.join(sorted(running))}. "
                "Choose one by its address (--address, or RAY_ADDRESS), or 'local' for a new one."
            )
    return canonicalize_bootstrap_address(cluster)  # type: ignore[arg-type]


@contextlib.contextmanager
def quiet_about_tokens() -> Iterator[None]:
    """Suppress Ray's warning that token authentication is on, which is intended here."""
    logger = logging.getLogger("ray._private.authentication.authentication_token_setup")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
