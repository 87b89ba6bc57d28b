"""Node services on a local cluster: starts, restarts, failures, and tracking of proxies."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import threading
import types
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from alacarte import serve
from alacarte._cluster.cluster_protocol import ActorContext, ActorSpec, Node, NotStarted
from alacarte._cluster.local import LocalCluster
from alacarte._cluster.stubs import stub
from alacarte._control import node_watch as nodes_module
from alacarte._control.node_service_group import NodeServiceGroup, WantedService
from alacarte._plugins import Plugins, load
from alacarte._process.node_service_sender import ServiceSender
from alacarte.actors import Membership, NodeServiceProtocol
from alacarte.errors import ConfigError, NotFoundError, ServeError
from alacarte.testing import wait_until
from alacarte.types import NodeServiceSpec, Runtime, ServiceContext

NODE = Node("one", "10.0.0.1", is_head=True)
OTHER = Node("two", "10.0.0.2")
NEIGHBOUR = Node("three", "10.0.0.1")
WAIT_S = 30


class World(types.ModuleType):
    """The calls and events of the services of a test."""

    def __init__(self) -> None:
        super().__init__("alacarte_services_of_tests")
        self.log: list[tuple[str, Any]] = []
        self.places: list[ServiceContext] = []
        self.refusal: Exception | None = None
        self.scheme = "http"
        self.may_start = threading.Event()
        self.may_start.set()
        self.may_answer = threading.Event()
        self.may_answer.set()
        world = self

        class Service:
            async def start(self, runtime: Runtime) -> Mapping[str, str]:
                assert runtime.service_context is not None
                if world.refusal is not None:
                    raise world.refusal
                self.number = len(world.places)
                world.places.append(runtime.service_context)
                world.log.append(("begin", self.number))
                await asyncio.to_thread(world.may_start.wait, WAIT_S)
                world.log.append(("start", self.number))
                return {"url": f"{world.scheme}://{self.number}/", "number": str(self.number)}

            async def receive(self, message: bytes) -> bytes:
                world.log.append(("receive", self.number))
                return await world.answer(message)

            async def drain(self, limit_s: float, *, replaced: bool) -> None:
                world.log.append(("drain", (self.number, limit_s, replaced)))

            async def stop(self) -> None:
                world.log.append(("stop", getattr(self, "number", None)))

        self.Service = Service

    async def answer(self, message: bytes) -> bytes:
        await asyncio.to_thread(self.may_answer.wait, WAIT_S)
        return message.upper()

    def of(self, kind: str) -> list[Any]:
        return [value for name, value in self.log if name == kind]


class Site:
    """A group of services on a local cluster."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.cluster = LocalCluster()
        self.plugins = load([])
        self.tracked: set[str] = set()
        self.spec = NodeServiceSpec("s", f"{world.__name__}:Service", serves_routes=True)
        self.group = self.new_group()

    def new_group(self) -> NodeServiceGroup:
        membership = Membership("i", b"x" * 32, {"cluster": {"max_message_bytes": 2**20}})
        return NodeServiceGroup(
            self.cluster,
            membership,
            self.plugins,
            self.tracked.add,
            lambda name: self.tracked.discard(name),
        )

    async def place(self, *nodes: Node, processes: int = 1) -> None:
        self.group.reconcile([WantedService(self.spec, nodes, processes)])
        await asyncio.wait_for(self.group.wait_ready(), WAIT_S)

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(WAIT_S):
            while not condition():
                await asyncio.sleep(0.01)

    async def kill(self, name: str) -> None:
        [found] = await self.cluster.list_actors(name)
        actor = await self.cluster.find_actor(found)
        assert actor is not None
        actor.kill()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    module = World()
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


@pytest.fixture
async def site(world: World) -> AsyncIterator[Site]:
    made = Site(world)
    yield made
    world.refusal = None
    await made.group.stop()
    assert await made.cluster.list_actors("") == []
    assert made.tracked == set()


async def test_processes_of_a_node(site: Site, world: World):
    """Each node has the wanted number of processes, and the status shows them by index."""
    await site.place(NODE, OTHER, processes=2)
    assert sorted(place.index for place in world.places) == [0, 0, 1, 1]
    assert sorted(site.group.overviews) == ["s/one/0", "s/one/1", "s/two/0", "s/two/1"]
    assert {node: each.index for node, each in site.group.by_node.items()} == {"one": 0, "two": 0}
    assert len(site.tracked) == 4


@pytest.mark.parametrize("field", ["serves_routes", "serves_applications"])
async def test_another_ingress_stands_beside_the_proxies(site: Site, world: World, field: str):
    """A service of another protocol does not replace the HTTP proxy in `by_node`."""
    await site.place(NODE)
    world.scheme = "grpc"
    spec = NodeServiceSpec("grpc", f"{world.__name__}:Service", **{field: True})
    site.group.reconcile([WantedService(spec, [NODE], 1), WantedService(site.spec, [NODE], 1)])
    await asyncio.wait_for(site.group.wait_ready(), WAIT_S)
    assert [each.service for each in site.group.by_node.values()] == ["s"]
    assert sorted(site.group.overviews) == ["grpc/one/0", "s/one/0"]
    assert len(site.tracked) == 2
    assert {each.process_info("p").kind for each in site.group._slots.values()} == {"proxy"}
    site.group.reconcile([WantedService(spec, [NODE], 1)])
    assert [each.url for each in site.group.by_node.values()] == ["grpc://1/"]


async def test_the_second_knows_what_the_first_told(site: Site, world: World):
    """Processes of a node start in turn; all but the first are given the metadata of another."""
    await site.place(NODE, processes=3)
    site.world.log.clear()
    for index in range(3):
        await site.kill(f"alacarte:i:service:s:one:{index}:")
        await site.until(lambda index=index: len(world.of("start")) == index + 1)
    assert all(place.metadata for place in world.places[3:])


async def test_messages_wait_for_the_start(site: Site, world: World):
    """A message that arrives before the end of `start` waits."""
    world.may_start.clear()
    placing = asyncio.create_task(site.place(NODE))
    await site.until(lambda: world.of("begin"))
    sender = ServiceSender(site.cluster, "alacarte:i:service:s:one")
    [name] = await site.cluster.list_actors("")
    actor = await site.cluster.find_actor(name)
    assert actor is not None
    with pytest.raises(NotStarted, match="has not started its service yet"):
        await stub(NodeServiceProtocol, actor).receive(b"early")
    sending = asyncio.create_task(sender.send(b"m"))
    world.may_start.set()
    assert await asyncio.wait_for(sending, WAIT_S) == [b"M"]
    await placing
    assert [name for name, _ in world.log] == ["begin", "start", "receive"]


async def test_messages_around_a_restart(site: Site, world: World):
    """A draining process answers its accepted messages and refuses new ones."""
    await site.place(NODE)
    sender = ServiceSender(site.cluster, "alacarte:i:service:s:one")
    [name] = await site.cluster.list_actors("")
    old = await site.cluster.find_actor(name)
    assert old is not None
    world.may_answer.clear()
    first = asyncio.create_task(sender.send(b"first"))
    await site.until(lambda: world.of("receive") == [0])
    restarting = asyncio.create_task(site.group.restart("s", WAIT_S))
    await site.until(lambda: world.of("drain"))
    with pytest.raises(NotStarted, match="or is stopping"):
        await stub(NodeServiceProtocol, old).receive(b"late")
    second = asyncio.create_task(sender.send(b"second"))
    await site.until(lambda: world.of("receive") == [0, 1])
    assert world.of("stop") == []
    world.may_answer.set()
    assert await first == [b"FIRST"]
    assert await second == [b"SECOND"]
    await asyncio.wait_for(restarting, WAIT_S)
    assert set(world.of("stop")) == {0}


async def test_siblings_see_each_other(site: Site, world: World):
    """Processes find the sockets of their service's other processes on the node."""
    await site.place(NODE, OTHER, processes=2)
    by_facts = {each.url: each.node_id for each in site.group.overviews.values()}
    nodes = [by_facts[f"http://{number}/"] for number in range(4)]
    paths = [place.new_socket() for place in world.places]
    doors = [socket.socket(socket.AF_UNIX) for _ in paths]
    for door, path in zip(doors, paths, strict=True):
        door.bind(path)
    try:
        for mine, place in enumerate(world.places):
            others = {
                path
                for number, path in enumerate(paths)
                if number != mine and nodes[number] == nodes[mine]
            }
            assert set(place.sibling_sockets()) == others
    finally:
        for door, path in zip(doors, paths, strict=True):
            door.close()
            os.unlink(path)


async def test_a_killed_process_comes_back(site: Site, world: World):
    """A killed process is replaced in its slot, with its metadata."""
    await site.place(NODE)
    await site.kill("alacarte:i:service:s:one:0:")
    await site.until(lambda: len(world.places) == 2)
    assert world.places[1].metadata["number"] == "0"
    await site.until(lambda: site.group.overviews["s/one/0"].url == "http://1/")


async def test_a_refused_start(site: Site, world: World):
    """A `ConfigError` of the first start is final, without a retry."""
    world.refusal = ConfigError("the port is in use")
    with pytest.raises(ConfigError, match="in use"):
        await site.place(NODE)
    assert site.group.overviews["s/one/0"].status == "UNHEALTHY"
    assert await site.cluster.list_actors("") == []


async def test_a_start_that_fails_again_and_again(
    site: Site, world: World, caplog: pytest.LogCaptureFixture
):
    """A failing start is logged and recorded once, and retried."""
    world.refusal = RuntimeError("no disk")
    with caplog.at_level(logging.INFO, "alacarte"):
        await site.place(NODE)  # which waits for some attempts
    failure, warning = caplog.records
    assert failure.getMessage().endswith(
        "failed in node service s: start for node one: RuntimeError: no disk"
    )
    assert "did not start: plugin " in warning.getMessage()
    assert site.group.overviews["s/one/0"].message == warning.getMessage()
    [kept] = site.plugins.failures.values()
    assert (kept.hook, kept.subject) == ("node service s: start", "node one")
    assert kept.count > 1
    world.refusal = None
    await site.until(lambda: site.group.overviews["s/one/0"].status == "HEALTHY")


async def test_a_refusal_later_on(site: Site, world: World):
    """A service that has run before is retried after any error."""
    await site.place(NODE)
    world.refusal = ConfigError("the port is in use")
    await site.kill("alacarte:i:service:s:one:0:")
    await site.until(lambda: "in use" in site.group.overviews["s/one/0"].message)
    world.refusal = None
    await site.until(lambda: site.group.overviews["s/one/0"].status == "HEALTHY")


async def test_a_restart(site: Site, world: World):
    """Each successor starts before its predecessor drains."""
    await site.place(NODE, processes=2)
    world.log.clear()
    await site.group.restart("s", 7.0)
    assert world.of("start") == [2, 3]
    assert sorted(world.of("drain")) == [(0, 7.0, True), (1, 7.0, True)]
    assert world.log.index(("start", 2)) < world.log.index(("drain", (0, 7.0, True)))
    assert {each.url for each in site.group.overviews.values()} == {"http://2/", "http://3/"}
    assert len(site.tracked) == 2
    await site.kill("alacarte:i:service:s:one:0:")
    await site.until(lambda: len(world.places) == 5)


async def test_a_successor_that_does_not_start(site: Site, world: World):
    """If the successor does not start, the old process keeps running."""
    await site.place(NODE)
    world.refusal = OSError("no memory")
    with pytest.raises(ServeError, match="old process keeps running: .*no memory"):
        await site.group.restart("", 1.0)
    assert world.of("drain") == []
    assert site.group.overviews["s/one/0"].status == "HEALTHY"
    assert len(await site.cluster.list_actors("")) == 1


async def test_an_unknown_service(site: Site):
    """The error names the running services."""
    await site.place(NODE)
    with pytest.raises(NotFoundError, match=r"'grpc'.*\['s'\]"):
        await site.group.restart("grpc", 1.0)


async def test_nodes_that_come_and_go(site: Site, world: World):
    """A node that joins gets a process; the process of a node that is gone is removed."""
    await site.place(NODE)
    await site.place(NODE, OTHER)
    assert sorted(site.group.by_node) == ["one", "two"]
    await site.place(OTHER)
    assert sorted(site.group.by_node) == ["two"]
    await site.until(lambda: world.of("drain"))
    assert world.of("start") == [0, 1]


async def test_nodes_of_one_address(site: Site, world: World):
    """Of nodes with one address, the first keeps the service, in any order of nodes."""
    await site.place(NODE, NEIGHBOUR)
    await site.place(NEIGHBOUR, NODE)
    assert world.of("start") == [0]
    await site.place(NEIGHBOUR)
    assert sorted(site.group.by_node) == ["three"]


async def test_another_controller(site: Site, world: World):
    """A new controller adopts running processes and ends surplus ones."""
    await site.place(NODE)
    slot = next(iter(site.group._slots.values()))
    await site.group._start(slot)  # the controller died before it could hand over the place
    former, site.group = site.group, site.new_group()
    for each in former._slots.values():
        assert each.task is not None
        each.task.cancel()
    await site.place(NODE)
    assert len(world.places) == 2
    await site.until(lambda: len(world.of("drain")) == 1)
    await site.until(lambda: len(site.cluster._actors) == 1)


async def test_a_process_without_arguments_is_ended(site: Site, world: World):
    """A process that never got its arguments is killed and replaced."""
    left = "alacarte:i:service:s:one:0:left"
    actor = await site.cluster.start_actor(ActorSpec(left, f"{__name__}:Unbegun"))
    await site.place(NODE)
    assert await asyncio.wait_for(actor.wait_closed(), WAIT_S) == "killed"
    assert len(world.places) == 1
    [name] = await site.cluster.list_actors("alacarte:i:service:s:one:0:")
    assert name != left
    await site.group.stop()


class Unbegun:
    """What such a process answers on Ray."""

    def __init__(self, context: ActorContext) -> None:
        self.name = context.name

    async def describe(self) -> Mapping[str, str]:
        raise NotStarted(self.name)


def test_a_node_joins_a_running_instance(
    local: Any, world: World, monkeypatch: pytest.MonkeyPatch, plugins: Plugins
):
    """The controller finds new nodes by itself, and starts services there."""
    nodes = [NODE]

    async def current(cluster: LocalCluster) -> list[Node]:
        return list(nodes)

    monkeypatch.setattr(LocalCluster, "nodes", current)
    monkeypatch.setattr(nodes_module, "_POLL_S", 0.01)
    every = NodeServiceSpec("s", f"{world.__name__}:Service", processes=lambda config: 2)
    head = NodeServiceSpec("h", f"{world.__name__}:Service", head_only=lambda config: True)
    monkeypatch.setattr(
        type(plugins), "node_services", property(lambda self: {"s": every, "h": head})
    )
    serve.start()
    assert sorted(serve.status().services) == ["h/one/0", "s/one/0", "s/one/1"]
    assert sorted(serve.status().proxies) == ["one"]
    nodes.append(OTHER)
    joined = ["h/one/0", "s/one/0", "s/one/1", "s/two/0", "s/two/1"]
    wait_until(lambda: sorted(serve.status().services) == joined, WAIT_S, "the node that joins")
    del nodes[1]
    wait_until(lambda: len(serve.status().services) == 3, WAIT_S, "the node that leaves")
    nodes.clear()  # the cluster does not answer: that is no reason to stop anything
    serve.restart_services("h")
    assert len(serve.status().services) == 3


def test_restarting_without_an_instance(local: Any):
    """Without an instance, or with `drain_s=0`, the error says so."""
    with pytest.raises(ServeError, match=r"not running"):
        serve.restart_services()
    with pytest.raises(ConfigError, match="drain_s=0"):
        serve.restart_services(drain_s=0)
