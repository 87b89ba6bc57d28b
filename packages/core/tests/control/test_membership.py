"""The secrets of the instance and of its configuration stay in its processes' memory."""

from __future__ import annotations

import asyncio
import pickle
import sys
import threading
import types
from collections.abc import Mapping
from typing import Any

import pydantic
import pytest

from alacarte import _plugins, serve
from alacarte._cluster.cluster_protocol import Actor, ActorDied, ActorSpec
from alacarte._cluster.local import LocalCluster
from alacarte._cluster.stubs import stub
from alacarte._control import recovery
from alacarte._control.desired_state import DesiredState
from alacarte._model.blobs import pack
from alacarte._model.deployment import Application
from alacarte._model.graph import build_application
from alacarte._plugins import PluginRecord, Plugins
from alacarte._process.controller_client import CONTROLLER_NAME
from alacarte._process.process_runtime import InstanceAccess
from alacarte._replica.replica_spec import ReplicaSpec
from alacarte._section_values import resolve, secrets_in, with_secrets, without_secrets
from alacarte.actors import ControllerProtocol, Membership, NodeServiceProtocol, ReplicaInfo
from alacarte.errors import ConfigError, DeployError
from alacarte.hookspecs import hookimpl
from alacarte.serve._controller_connection import CONTROLLER_TARGET
from alacarte.types import (
    Address,
    ConfigSection,
    DeploymentId,
    NodeServiceSpec,
    Resource,
    Runtime,
)

CANARY = "CANARY-PASSWORD"
PREFIX = "alacarte:"


class DoorOptions(pydantic.BaseModel):
    """A section with a secret."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")
    width: int = 1
    password: str | None = pydantic.Field(None, repr=False)


class Door:
    """A node service whose section has a password."""

    async def start(self, runtime: Runtime) -> Mapping[str, str]:
        return {"password": runtime.config.section("door").password}

    async def drain(self, limit_s: float, *, replaced: bool) -> None:
        """Nothing is in progress."""

    async def stop(self) -> None:
        """Nothing is open."""


@serve.deployment(ray_actor_options={"num_cpus": 0})
class Model:
    """Holds what it is given."""

    async def __call__(self) -> str:
        return "ok"


MAY_END = threading.Event()


@serve.deployment
class Lingers:
    """Ends when it is let."""

    def __call__(self) -> str:
        return "ok"

    async def __del__(self) -> None:
        await asyncio.to_thread(MAY_END.wait, 20)


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Plugins:
    module = types.ModuleType("door_of_tests")
    given: dict[str, Any] = {
        "DoorOptions": DoorOptions,
        "Door": Door,
        "register_config": hookimpl(
            lambda: [ConfigSection("door", "door_of_tests:DoorOptions")],
        ),
        "register_node_services": hookimpl(
            lambda: [NodeServiceSpec("door", "door_of_tests:Door")],
        ),
    }
    vars(module).update(given)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    core = [record for record in _plugins.discover() if record.name == "core"]
    return _plugins.load([*core, PluginRecord("door", "door_of_tests")], strict=True)


class Site:
    """An instance on a local cluster whose controller can be replaced."""

    def __init__(self, plugins: Plugins) -> None:
        self.plugins = plugins
        self.cluster = LocalCluster()
        options = {"cluster_options": {"transport": "unix"}, "door_options": {"password": CANARY}}
        self.config = resolve(plugins, options, {})
        self.actor: Actor
        self.controller: ControllerProtocol

    async def new_controller(self) -> None:
        """Start a new controller after the end of the old one, as Ray does."""
        await self.kill_controller()
        self.actor = await self.cluster.start_actor(
            ActorSpec(CONTROLLER_NAME, CONTROLLER_TARGET, plugins=self.plugins.loaded)
        )
        self.controller = stub(ControllerProtocol, self.actor)

    async def kill_controller(self) -> None:
        old = await self.cluster.find_actor(CONTROLLER_NAME)
        if old is not None:
            old.kill()

    async def run(self, model: Application | None = None) -> None:
        app = build_application(model or Model.bind(), name="app", route_prefix=None)
        packed = pack(({}, [Resource("application", "app", app)]))
        await self.controller.apply(packed.data, tuple(packed.sizes), packed.blobs)
        await self.controller.applied("application", "app")

    async def kill(self, kind: str) -> None:
        for name in await self.cluster.list_actors(PREFIX):
            if f":{kind}:" in name:
                actor = await self.cluster.find_actor(name)
                assert actor is not None
                actor.kill()

    async def replicas(self) -> list[str]:
        return [each for each in await self.cluster.list_actors(PREFIX) if ":replica:" in each]

    async def end(self) -> None:
        await self.controller.shutdown()
        self.actor.kill()


@pytest.fixture
async def site(plugins: Plugins) -> Site:
    site = Site(plugins)
    await site.new_controller()
    return site


async def test_nothing_secret_is_stored(site: Site):
    """Neither the durable map nor an actor's arguments contain a secret."""
    info = await site.controller.join(site.config)
    await site.run()
    stored = b"".join(site.cluster._map.values())
    assert b"door" in stored
    assert CANARY.encode() not in stored
    assert info.secret not in stored
    assert info.config["door"] == {"width": 1, "password": None}
    await site.end()


async def test_a_new_controller_learns_the_secret_from_replicas(site: Site):
    """Nothing of the instance changes, and no replica is replaced."""
    info = await site.controller.join(site.config)
    await site.run()
    before = await site.replicas()
    await site.kill("service")
    await site.new_controller()
    assert await site.controller.join() == info
    await site.controller.applied("application", "app")
    await site.controller.ready()
    assert await site.replicas() == before
    # The configuration's secrets, too: the node service that is started anew has its own.
    [door] = await site.cluster.list_actors(f"alacarte:{info.instance}:service:door")
    actor = await site.cluster.find_actor(door)
    assert actor is not None
    assert await stub(NodeServiceProtocol, actor).describe() == {"password": CANARY}
    await site.end()


async def test_a_new_controller_learns_the_secret_from_node_services(site: Site):
    """Without a replica, any node service supplies the secret, even if another one hangs."""
    info = await site.controller.join(site.config)
    await site.controller.ready()
    hanging = f"alacarte:{info.instance}:service:a-door:0"
    await site.cluster.start_actor(
        ActorSpec(hanging, f"{__name__}:Hanging", plugins=site.plugins.loaded)
    )
    async with asyncio.timeout(4):
        await site.new_controller()
        assert await site.controller.join() == info
    await site.kill("service")
    await site.end()


class Hanging:
    """An actor that answers nothing."""

    def __init__(self, context: Any) -> None:
        self.context = context

    async def membership(self) -> Membership:
        await asyncio.Event().wait()
        raise AssertionError


async def test_after_the_last_process_secrets_must_be_given_again(site: Site):
    """With lost secrets nothing starts, and the error names the remedy."""
    info = await site.controller.join(site.config)
    await site.run()
    await site.kill_controller()  # first: it replaces what dies
    await site.kill("replica")
    await site.kill("service")
    await site.new_controller()
    with pytest.raises(ConfigError, match=r"door\.password are lost.*Call serve\.start\(\)"):
        await site.controller.join()
    with pytest.raises(ActorDied, match="has ended"):
        await site.controller.status()
    assert await site.replicas() == []
    again = await site.controller.join(site.config)
    assert again.instance == info.instance
    assert again.secret != info.secret
    await site.controller.applied("application", "app")
    await site.end()


async def test_a_controller_that_nobody_has_told_anything_waits(site: Site):
    """Calls of other processes do not create an instance."""
    assert await site.controller.join() is None
    with pytest.raises(ActorDied, match="no driver has started one"):
        await site.controller.status()
    assert site.cluster._map == {}
    await site.controller.join(site.config)
    await site.end()


async def test_a_replica_of_another_secret_is_dismissed():
    """A replica whose secret differs from the majority's is drained."""

    started = ReplicaInfo(DeploymentId("app", "x"), "r", "v", Address("", "h"), "n", 1, 1, None)
    found = recovery.Recovery(LocalCluster(), "i")
    actor: Any = None
    survivors = [
        recovery.Survivor(actor, started, Membership("i", secret, {}))
        for secret in (b"a", b"b", b"b")
    ]
    membership = await found.membership(survivors)
    assert membership is not None
    assert membership.secret == b"b"
    assert await found.membership([]) is None


def test_secrets_are_those_fields_that_their_model_does_not_show(plugins: Plugins):
    """`repr=False`; they are taken out, and put back."""
    config = resolve(plugins, {"door_options": {"password": CANARY}}, {})
    found = secrets_in(plugins, config)
    assert found == {"door.password": CANARY}
    public = without_secrets(config, found)
    assert public["door"] == {"width": 1, "password": None}
    assert secrets_in(plugins, public) == {}
    assert with_secrets(public, found) == config


async def test_nothing_is_deployed_while_the_instance_shuts_down(site: Site):
    """A deploy during a shutdown is refused."""
    await site.controller.join(site.config)
    await site.run(Lingers.bind())
    ending = asyncio.create_task(site.controller.shutdown())
    while (await site.controller.status()).applications["app"].status != "DELETING":
        await asyncio.sleep(0.01)
    with pytest.raises(DeployError, match="is shutting down"):
        await site.run()
    MAY_END.set()
    await ending
    assert await site.cluster.keys("") == []
    site.actor.kill()


def test_no_representation_shows_a_secret():
    """The `repr` of an object with a secret does not show the secret."""
    membership = Membership("i", b"CANARY", {"http": {"password": "CANARY"}})
    spec = ReplicaSpec(DeploymentId("a", "x"), "r", "v", b"CANARY", b"CANARY", False, 5, None)
    actor = ActorSpec("name", "a:B", args=(spec,), options={"runtime_env": "CANARY"})
    access = InstanceAccess.of(
        Membership("i", b"CANARY", {"cluster": {"max_message_bytes": 1}}), LocalCluster()
    )
    for each in (membership, spec, actor, access):
        assert "CANARY" not in repr(each)
        assert "CANARY" not in f"{each}"
    assert b"secret" not in pickle.dumps(DesiredState("i"))


def test_a_survivor_has_one_calls_patience_to_say_who_it_is(run: Any):
    """A survivor has three attempts of 5 s for its description and membership, then is killed.

    Otherwise a driver's `join`, which has 30 s, would fail for one slow replica.
    """

    class Slow:
        name = "alacarte:i:replica:slow"
        is_killed = False

        async def call(self, method: str, *args: Any) -> Any:
            await asyncio.sleep(4.0)
            return Membership("i", b"", {})

        def kill(self) -> None:
            self.is_killed = True

    class Cluster(LocalCluster):
        async def list_actors(self, prefix: str) -> list[str]:
            return [slow.name]

        async def find_actor(self, name: str) -> Any:
            return slow

    slow = Slow()

    async def main() -> None:
        began = asyncio.get_running_loop().time()
        assert await recovery.Recovery(Cluster(), "i").survivors() == []
        assert asyncio.get_running_loop().time() - began == pytest.approx(15.6)
        assert slow.is_killed

    run(main)
