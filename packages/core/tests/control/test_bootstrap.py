"""Bootstrap of a controller while the cluster fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from alacarte import _plugins
from alacarte._cluster.cluster_protocol import ClusterUnresponsive, Node
from alacarte._cluster.local import LocalCluster
from alacarte._control.bootstrap import Bootstrap, BootstrapResult, NoInstance
from alacarte._control.scaling import SCALER_KEY
from alacarte._control.storage import Storage
from alacarte._plugins import Plugins
from alacarte._section_values import resolve
from alacarte.actors import Membership, ReplicaInfo
from alacarte.types import Address, DeploymentId

from ..plan_support import application


class Survivor:
    """A replica of an instance whose controller has died."""

    name = "alacarte:i:replica:r"

    def __init__(self, membership: Membership) -> None:
        self.membership = membership
        self.is_killed = False

    async def call(self, method: str, *args: Any) -> Any:
        if method == "membership":
            return self.membership
        address = Address("", "h")
        return ReplicaInfo(DeploymentId("a", "d"), "r", "v1", address, "n", 1, 1, None)

    def kill(self) -> None:
        self.is_killed = True


class Cluster(LocalCluster):
    """A local cluster that fails one access, by its number from now on.

    Args:
        stored: To begin with.
        survivor: The only replica, if there is one.
    """

    def __init__(
        self, stored: Mapping[str, bytes] | None = None, survivor: Survivor | None = None
    ) -> None:
        super().__init__()
        self._map.update(stored or {})
        self.survivor = survivor
        self.fails_at = 0

    def _count(self) -> None:
        self.fails_at -= 1
        if self.fails_at == 0:
            raise ClusterUnresponsive("no answer")

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
        return [self.survivor.name] if self.survivor and ":replica:" in prefix else []

    async def find_actor(self, name: str) -> Any:
        self._count()
        return self.survivor

    async def nodes(self) -> list[Node]:
        self._count()
        return await super().nodes()


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    core = [record for record in _plugins.discover() if record.name == "core"]
    return _plugins.load(core, strict=True)


def config(plugins: Plugins) -> dict[str, Any]:
    return dict(resolve(plugins, {"cluster_options": {"transport": "unix"}}, {}))


async def persist(founding: Bootstrap, config: Mapping[str, Any] | None) -> BootstrapResult:
    """Attempt again after each silence of the cluster."""
    while True:
        try:
            return await founding.create_or_recover(config)
        except ClusterUnresponsive:
            continue


async def test_an_instance_is_founded_once_wherever_the_cluster_fails(plugins: Plugins):
    """All attempts after a failure create one instance with one secret, and the storage has it."""

    async def found(fails_at: int) -> Cluster:
        cluster = Cluster()
        founding = Bootstrap(cluster, plugins, Storage(cluster))
        cluster.fails_at = fails_at
        found = await persist(founding, config(plugins))
        rest, cluster.fails_at = cluster.fails_at, 0
        again = await founding.create_or_recover(None)
        assert again.membership == found.membership
        assert again.state.instance == found.state.instance == found.membership.instance
        assert [node.node_id for node in found.nodes] == ["local"]
        cluster.fails_at = rest
        return cluster

    accesses = -(await found(0)).fails_at
    assert accesses >= 5
    for fails_at in range(1, accesses + 1):
        assert (await found(fails_at)).fails_at <= 0  # it has failed


async def test_an_instance_is_recovered_wherever_the_cluster_fails(plugins: Plugins):
    """Every attempt finds resources, secret and replica again; none ends the replica."""
    before = Cluster()
    storage = Storage(before)
    founded = await Bootstrap(before, plugins, storage).create_or_recover(config(plugins))
    state = founded.state.with_resource(application("a", "d"), 1.0)
    await storage.save(state)

    async def recover(fails_at: int) -> Cluster:
        cluster = Cluster(before._map, Survivor(founded.membership))
        cluster.fails_at = fails_at
        found = await persist(Bootstrap(cluster, plugins, Storage(cluster)), None)
        assert found.is_recovered
        assert (found.membership, found.state) == (founded.membership, state)
        assert [each.actor for each in found.survivors] == [cluster.survivor]
        assert cluster._map == before._map
        assert cluster.survivor is not None
        assert not cluster.survivor.is_killed
        return cluster

    accesses = -(await recover(0)).fails_at
    assert accesses >= 7
    for fails_at in range(1, accesses + 1):
        assert (await recover(fails_at)).fails_at <= 0  # it has failed


async def test_a_new_instance_has_no_counts_of_a_former_one(plugins: Plugins):
    """A new instance deletes the scaler's stored value; a recovered instance keeps it."""
    cluster = Cluster()
    cluster._map[SCALER_KEY] = b'[["app", "D", 9, "of an instance that did not end well"]]'
    founding = Bootstrap(cluster, plugins, Storage(cluster))
    first = await founding.create_or_recover(config(plugins))
    assert (first.scaler, first.is_recovered) == (None, False)
    assert SCALER_KEY not in cluster._map
    again = await Bootstrap(cluster, plugins, Storage(cluster)).create_or_recover(config(plugins))
    assert (again.scaler, again.is_recovered) == (b"", True)
    assert again.state.instance == first.state.instance


async def test_without_a_configuration_nothing_is_founded(plugins: Plugins):
    """And nothing is stored."""
    cluster = Cluster()
    with pytest.raises(NoInstance):
        await Bootstrap(cluster, plugins, Storage(cluster)).create_or_recover(None)
    assert cluster._map == {}
