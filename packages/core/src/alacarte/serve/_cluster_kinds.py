"""Kinds of clusters, and the connection of this process to a cluster."""

from __future__ import annotations

import os

from .._cluster.cluster_protocol import Cluster
from ..errors import ConfigError

__all__ = [
    "CLUSTERS",
    "cluster_kind",
    "connect",
    "connect_running",
    "is_connected",
    "starts_cluster",
]

CLUSTERS = ("ray", "local")
_CLUSTER_VARIABLE = "ALACARTE_CLUSTER"


def cluster_kind(cluster: str | None) -> str:
    """Return the kind of cluster to use: the argument, the environment's, or the default.

    Raises:
        ConfigError: No cluster is of that kind.
    """
    kind = cluster or os.environ.get(_CLUSTER_VARIABLE) or CLUSTERS[0]
    if kind not in CLUSTERS:
        raise ConfigError(
            f"cluster={kind!r} (argument, or {_CLUSTER_VARIABLE}) must be "
            f"{' or '.join(map(repr, CLUSTERS))}."
        )
    return kind


def is_connected() -> bool:
    """Return whether this process is connected to a Ray cluster."""
    from .._cluster.ray import RayCluster  # Ray takes a second to import

    return RayCluster.connected()


def starts_cluster(kind: str, address: str | None) -> bool:
    """Return whether `connect` would start a cluster, rather than join a running cluster."""
    if kind == "local":
        return True
    from .._cluster.ray import RayCluster  # Ray takes a second to import

    return not is_connected() and RayCluster.find(address) is None


def connect(kind: str, address: str | None) -> Cluster:
    """Connect to a running cluster, or start a cluster."""
    if kind == "local":
        from .._cluster.local import LocalCluster

        return LocalCluster()
    from .._cluster.ray import RayCluster  # Ray takes a second to import

    cluster = RayCluster.connect(address)
    assert cluster is not None
    return cluster


def connect_running(address: str | None) -> Cluster | None:
    """Connect to a running Ray cluster; return None when none is running. Starts nothing."""
    from .._cluster.ray import RayCluster  # Ray takes a second to import

    return RayCluster.connect(address, only_running=True)
