"""How a controller comes to know its instance, whenever the cluster fails."""

from __future__ import annotations

from typing import Any

import pytest

from alacarte import _plugins
from alacarte._cluster.local import LocalCluster
from alacarte._cluster.protocol import ClusterSilent, Node
from alacarte._control.founding import Foundation, Founding, NotFounded
from alacarte._control.replica_counts import COUNTS_KEY
from alacarte._control.storage import Storage
from alacarte._plugins import Plugins
from alacarte._settings import resolve


class Cluster(LocalCluster):
    """A local cluster that fails one access, by its number from now on."""

    def __init__(self) -> None:
        super().__init__()
        self.fails_at = 0

    def _count(self) -> None:
        self.fails_at -= 1
        if self.fails_at == 0:
            raise ClusterSilent("no answer")

    async def get(self, key: str) -> bytes | None:
        self._count()
        return await super().get(key)

    async def put(self, key: str, value: bytes) -> None:
        await super().put(key, value)
        self._count()  # it is done, and the answer lost

    async def delete(self, key: str) -> None:
        self._count()
        await super().delete(key)

    async def keys(self, prefix: str) -> list[str]:
        self._count()
        return await super().keys(prefix)

    async def list_actors(self, prefix: str) -> list[str]:
        self._count()
        return await super().list_actors(prefix)

    async def nodes(self) -> list[Node]:
        self._count()
        return await super().nodes()


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    core = [record for record in _plugins.discover() if record.name == "core"]
    return _plugins.load(core, strict=True)


def config(plugins: Plugins) -> dict[str, Any]:
    return dict(resolve(plugins, {"cluster_options": {"transport": "unix"}}, {}))


@pytest.mark.parametrize("fails_at", range(1, 11))
async def test_an_instance_is_founded_once_wherever_the_cluster_fails(
    plugins: Plugins, fails_at: int
):
    """The attempts after a failure come to one instance, which the storage has, with one secret."""
    cluster = Cluster()
    founding = Founding(cluster, plugins, Storage(cluster))
    cluster.fails_at = fails_at
    attempts: list[Foundation] = []
    while not attempts:
        try:
            attempts.append(await founding.attempt(config(plugins)))
        except ClusterSilent:
            assert cluster.fails_at == 0
    [found] = attempts
    cluster.fails_at = 0
    again = await founding.attempt(None)
    assert again.membership == found.membership
    assert again.state.instance == found.state.instance == found.membership.instance
    assert [node.node_id for node in found.nodes] == ["local"]


async def test_a_new_instance_has_no_counts_of_a_former_one(plugins: Plugins):
    """They are deleted before the instance is stored; a recovered one has its own."""
    cluster = Cluster()
    cluster._map[COUNTS_KEY] = b'[["app", "D", 9, "of an instance that did not end well"]]'
    founding = Founding(cluster, plugins, Storage(cluster))
    first = await founding.attempt(config(plugins))
    assert (first.counts, first.is_recovered) == (None, False)
    assert COUNTS_KEY not in cluster._map
    again = await Founding(cluster, plugins, Storage(cluster)).attempt(config(plugins))
    assert (again.counts, again.is_recovered) == ({}, True)
    assert again.state.instance == first.state.instance


async def test_without_a_configuration_nothing_is_founded(plugins: Plugins):
    """And nothing is stored."""
    cluster = Cluster()
    with pytest.raises(NotFounded):
        await Founding(cluster, plugins, Storage(cluster)).attempt(None)
    assert cluster._map == {}
