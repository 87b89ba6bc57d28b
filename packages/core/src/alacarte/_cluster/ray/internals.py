"""Whatever Ray does not promise, and may rename in any release: used in this module alone."""

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
    "ANSWER_S",
    "IMPLICIT_RESOURCE_PREFIX",
    "RayTokens",
    "address_of",
    "draining_nodes",
    "groups_named",
    "keep_log_lines",
    "living_nodes",
    "quiet_about_tokens",
    "store",
]

ANSWER_S = 10.0
"""How long Ray's control store may take for one answer; it takes half a millisecond."""


def store() -> Any:
    """Return this process's connection to Ray's control store; its calls take a `timeout`."""
    return ray._private.worker.global_worker.gcs_client  # type: ignore[attr-defined]


def living_nodes() -> dict[str, Any]:
    """Return the nodes that are up, by id, as Ray's control store describes them."""
    return {
        node_id.hex(): node
        for node_id, node in store().get_all_node_info(timeout=ANSWER_S).items()
        if node.state == GcsNodeInfo.ALIVE
    }


def draining_nodes() -> dict[str, float]:
    """Return until when the nodes that are to go will be there, in seconds since 1970."""
    try:
        found = store().get_draining_nodes(timeout=ANSWER_S)
    except AttributeError:  # Ray 2.54 has it in another place, and without a limit of time
        found = ray._private.state.state.get_draining_nodes()
    # In milliseconds, and 0 for no bound.
    return {node_id: until / 1000 or math.inf for node_id, until in found.items()}


def groups_named(prefix: str) -> list[tuple[str, PlacementGroup]]:
    """Return the placement groups that are there or asked for, of names that begin so."""
    return [
        (entry["name"], PlacementGroup(PlacementGroupID.from_hex(group_id)))
        for group_id, entry in placement_group_table().items()
        if entry["name"].startswith(prefix) and entry["state"] != "REMOVED"
    ]


def keep_log_lines() -> None:
    """Have this program shown every line of the log, unless its user has decided about that.

    Ray leaves out lines that another process has printed within five seconds, and shows them
    later with a count. Of a traceback that two replicas print, the half would be missing.
    """
    if "RAY_DEDUP_LOGS" not in os.environ:
        # Ray has read the variable when it was imported.
        ray._private.ray_logging.RAY_DEDUP_LOGS = False  # type: ignore[attr-defined]


class RayTokens:
    """The `Tokens` of Ray in this process."""

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
    """Return a cluster's host and port, as Ray finds them: None for the one started last."""
    forget = getattr(find_gcs_addresses, "cache_clear", None)
    if forget is not None:  # a Ray that remembers what its search of this machine has found
        forget()
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
    """Keep Ray from warning that tokens are on, which is as it should be."""
    logger = logging.getLogger("ray._private.authentication.authentication_token_setup")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
