"""Both clusters do all that core relies on, by the kit that `alacarte.testing` ships."""

from __future__ import annotations

import asyncio

import pytest

from alacarte._cluster.local import LocalCluster
from alacarte._cluster.protocol import Cluster
from alacarte.testing import check_cluster, check_plugin


@pytest.mark.minimums
def test_cluster(cluster: str):
    """Actors, names, ends, refusals, the map and the nodes are as promised."""
    asyncio.run(check_cluster(_cluster(cluster)))


@pytest.mark.parametrize("name", ["core", "http", "handles", "batching", "multiplexing", "cli"])
def test_plugins(name: str):
    """Every plugin of ours keeps the rules that strangers' have to keep."""
    assert check_plugin(name).state == "loaded"


def _cluster(kind: str) -> Cluster:
    if kind == "local":
        return LocalCluster()
    from alacarte._cluster.ray import RayCluster

    found = RayCluster.connect()
    assert found is not None
    return found
