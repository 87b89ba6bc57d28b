"""The controller's actor: creation of one instance, recovery without a caller, and failures."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from alacarte import _plugins, serve
from alacarte._cluster.cluster_protocol import Actor, ActorDied, ActorSpec, ClusterUnresponsive
from alacarte._cluster.local import LocalCluster
from alacarte._control.storage import STATE_KEY, decode_index
from alacarte._plugins import Plugins
from alacarte._process.controller_client import CONTROLLER_NAME
from alacarte._section_values import resolve
from alacarte.actors import InstanceInfo
from alacarte.hookspecs import hookimpl
from alacarte.serve import _current
from alacarte.serve._controller_connection import CONTROLLER_TARGET
from alacarte.types import NodeServiceSpec

LIMIT_S = 20.0


class Cluster(LocalCluster):
    """A local cluster whose map may be silent, and which counts the indexes that are stored."""

    def __init__(self) -> None:
        super().__init__()
        self.is_silent = False
        self.loses_answer = False
        self.foundings: list[str] = []

    async def get(self, key: str) -> bytes | None:
        if self.is_silent:
            raise ClusterUnresponsive("the map does not answer")
        return await super().get(key)

    async def put(self, key: str, value: bytes) -> None:
        await super().put(key, value)
        await asyncio.sleep(0)
        if key == STATE_KEY:
            self.foundings.append(decode_index(value).facts.instance)
            if self.loses_answer:
                self.loses_answer, self.is_silent = False, True
                raise ClusterUnresponsive("the answer was lost")


class Site:
    """A controller's actor, which can be replaced."""

    def __init__(self, plugins: Plugins) -> None:
        self.plugins = plugins
        self.cluster = Cluster()
        self.config = resolve(plugins, {"cluster_options": {"transport": "unix"}}, {})
        self.actor: Actor

    async def restart(self) -> None:
        old = await self.cluster.find_actor(CONTROLLER_NAME)
        if old is not None:
            old.kill()
        self.actor = await self.cluster.start_actor(
            ActorSpec(CONTROLLER_NAME, CONTROLLER_TARGET, plugins=self.plugins.loaded)
        )

    async def join(self, config: Any = None) -> InstanceInfo:
        info: InstanceInfo | None = await self.actor.call("join", config)
        assert info is not None
        return info

    @property
    def controller(self) -> Any:
        """The object that answers, None before there is one."""
        host: Any = self.cluster._actors[CONTROLLER_NAME]._host
        return host._object._controller

    async def end(self) -> None:
        await self.actor.call("shutdown")
        self.actor.kill()


@pytest.fixture
async def site() -> Site:
    core = [record for record in _plugins.discover() if record.name == "core"]
    site = Site(_plugins.load(core, strict=True))
    await site.restart()
    return site


async def test_callers_at_the_same_time_found_one_instance(site: Site):
    """Each of many concurrent `join`s returns the same name and the same secret."""
    async with asyncio.timeout(LIMIT_S):
        found = await asyncio.gather(*(site.join(site.config) for _ in range(20)))
    assert len({each.instance for each in found}) == 1
    assert len({each.secret for each in found}) == 1
    assert site.cluster.foundings == [found[0].instance]
    await site.end()


async def test_a_founding_whose_answer_was_lost_keeps_its_instance(site: Site):
    """The state may be stored after all: the next attempt continues with it and its secret."""
    site.cluster.loses_answer = True
    with pytest.raises(ClusterUnresponsive):
        await site.join(site.config)
    assert site.controller is None
    with pytest.raises(ClusterUnresponsive):
        await site.actor.call("status")
    site.cluster.is_silent = False
    info = await site.join(site.config)
    assert [info.instance] == site.cluster.foundings
    assert (await site.actor.call("status")).applications == {}
    await site.end()


async def test_a_failed_start_is_tried_again_at_the_next_call(site: Site):
    """Any call retries the launch; callers get the cluster's error meanwhile."""
    info = await site.join(site.config)
    site.cluster.is_silent = True
    await site.restart()
    for method in ("status", "ready"):
        with pytest.raises(ClusterUnresponsive):
            await site.actor.call(method)
    site.cluster.is_silent = False
    assert (await site.actor.call("status")).applications == {}
    assert (await site.join()).instance == info.instance
    await site.end()


async def test_a_restarted_controller_recovers_before_anybody_calls_it(site: Site):
    """A restarted controller launches without a caller."""
    await site.join(site.config)
    await site.restart()
    async with asyncio.timeout(LIMIT_S):
        while site.controller is None:
            await asyncio.sleep(0.01)
    await site.end()


async def test_after_the_shutdown_nothing_is_answered(site: Site):
    """After the shutdown even `join` fails: the next instance has another controller."""
    await site.join(site.config)
    await site.actor.call("shutdown")
    for method, *args in (("status",), ("join", site.config), ("watch", None)):
        with pytest.raises(ActorDied, match="was shut down"):
            await site.actor.call(method, *args)
    site.actor.kill()


@serve.deployment
class Model:
    def __call__(self) -> str:
        return "here"


async def test_a_controller_that_fails_to_begin_leaves_nothing_at_work(
    local: Any, observer: Any
) -> None:
    """A failed launch leaves no task, and the next launch has exactly one of each."""
    faults: list[Exception] = []

    def processes(config: Any) -> int:
        if faults:
            raise faults[0]
        return 0

    @hookimpl
    def register_node_services() -> list[NodeServiceSpec]:
        return [NodeServiceSpec("idle", "nowhere:Nothing", processes=processes)]

    observer.register_node_services = register_node_services
    await asyncio.to_thread(local.run, Model.bind())
    session: Any = _current.current()
    cluster, plugins = session.cluster, session.plugins.loaded
    faults.append(ZeroDivisionError("no such node"))
    for name in await cluster.list_actors(""):
        (await cluster.find_actor(name)).kill()
    actor = await cluster.start_actor(
        ActorSpec(CONTROLLER_NAME, CONTROLLER_TARGET, plugins=plugins)
    )
    for _ in range(3):
        with pytest.raises(ZeroDivisionError, match="no such node"):
            await actor.call("status")
    async with asyncio.timeout(LIMIT_S):
        while parts_at_work(actor):
            await asyncio.sleep(0.01)
        faults.clear()
        while (await actor.call("status")).applications["default"].status != "RUNNING":
            await asyncio.sleep(0.01)
    assert parts_at_work(actor).count("ControlLoop._run") == 1
    assert parts_at_work(actor).count("NodeWatch.follow") == 1
    assert len([name for name in await cluster.list_actors("") if ":replica:" in name]) == 1


def parts_at_work(actor: Any) -> list[str]:
    """Return the tasks on an actor's loop, but for calls of the actor."""
    tasks = asyncio.all_tasks(actor._host._thread.loop)
    names = [task.get_coro().__qualname__ for task in tasks]  # type: ignore[union-attr]
    return [name for name in names if name not in ("_ordinarily", "first_launch")]
