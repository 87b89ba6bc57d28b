"""Where Ray puts replicas, and what they are given there; on a Ray of several nodes."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import ray
from tests.integration.nodes import added_node, drain

from alacarte import serve
from alacarte._cluster.cluster_protocol import ActorSpec
from alacarte._plugins import load
from alacarte.errors import ConfigError, DeployError, ReplicaUnavailableError
from alacarte.serve import _current
from alacarte.testing import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]
_PROBE = "alacarte.testing._cluster_conformance:Probe"


@pytest.fixture(scope="module")
def node(ray_address: str) -> Iterator[str]:
    """A second node: one GPU, a custom resource, labels."""
    resources = '--resources={"special": 2, "accelerator_type:A100": 1}'
    options = ("--num-cpus=4", "--num-gpus=1", resources, "--labels=zone=b")
    with added_node(ray_address, *options) as node_id:
        yield node_id


@pytest.fixture(scope="module")
def instance(node: str) -> Iterator[None]:
    serve.start(cluster="ray", proxy_location="Disabled")
    yield
    serve.shutdown()
    assert groups() == [], "a placement group is left"


@pytest.fixture
def app(instance: None) -> Iterator[None]:
    yield
    for name in serve.status().applications:
        serve.delete(name)


@serve.deployment
class Where:
    """Tells where it is and what it was given."""

    def __call__(self) -> dict[str, Any]:
        context = ray.get_runtime_context()
        return {
            "node": context.get_node_id(),
            "resources": context.get_assigned_resources(),
            "group": context.get_placement_group_id(),
            "variable": os.environ.get("ALC_TEST_VARIABLE"),
            "replica": serve.get_replica_context().replica_id,
        }

    def child(self) -> str | None:
        """Return the placement group that a task of this replica runs in."""

        @ray.remote
        def where() -> str | None:
            found: str | None = ray.get_runtime_context().get_placement_group_id()
            return found

        found: str | None = ray.get(where.remote(), timeout=60)
        return found


def run(replicas: int = 1, **options: Any) -> Any:
    options["num_replicas"] = replicas
    return serve.run(Where.options(**options).bind(), route_prefix=None)


def told(handle: Any, replicas: int = 1) -> list[dict[str, Any]]:
    """Return what every replica says of itself."""
    found: dict[str, dict[str, Any]] = {}

    def all_of_them() -> bool:
        answer = handle.remote().result(timeout_s=60)
        found[answer["replica"]] = answer
        return len(found) == replicas

    wait_until(all_of_them, 60)
    return list(found.values())


def groups() -> list[str]:
    """Return the names of our placement groups that are there, or asked for."""
    return [
        each["name"]
        for each in ray.util.placement_group_table().values()
        if each["name"].startswith("alacarte:") and each["state"] != "REMOVED"
    ]


def on_cluster(work: Callable[[Any], Awaitable[Any]]) -> Any:
    session = _current.current()
    assert session is not None

    async def run() -> Any:
        return await work(session.cluster)

    return session.wait(run())


@pytest.mark.parametrize(
    ("options", "given"),
    [
        ({"num_cpus": 0.25}, {"CPU": 0.25}),
        ({"num_gpus": 0.5}, {"CPU": 1, "GPU": 0.5}),
        ({"memory": 64 * 1024**2}, {"CPU": 1, "memory": 64 * 1024**2}),
        ({"num_cpus": 0, "resources": {"special": 1}}, {"special": 1}),
        ({"accelerator_type": "A100"}, {"CPU": 1, "accelerator_type:A100": 0.001}),
    ],
    ids=str,
)
def test_resources(app: None, node: str, options: dict[str, Any], given: dict[str, float]):
    """A replica's process is given what it asked for, of a node that has it."""
    [answer] = told(run(ray_actor_options=options))
    assert answer["resources"] == given
    if given.keys() - {"CPU", "memory"}:
        assert answer["node"] == node


def test_environment(app: None):
    """A replica sees the environment variables of its `runtime_env`."""
    options = {"runtime_env": {"env_vars": {"ALC_TEST_VARIABLE": "x"}}}
    assert told(run(ray_actor_options=options))[0]["variable"] == "x"


def test_labels(app: None, node: str):
    """A replica goes to a node with the labels it asks for."""
    options = {"num_cpus": 0, "label_selector": {"zone": "b"}}
    answers = told(run(2, ray_actor_options=options), 2)
    assert {answer["node"] for answer in answers} == {node}


def test_spread_and_pack(app: None):
    """Replicas are spread over the nodes, unless packing is asked for."""
    options = {"num_cpus": 0.25}
    spread = told(run(4, ray_actor_options=options), 4)
    assert len({answer["node"] for answer in spread}) == 2
    serve.delete("default")
    packed = told(run(4, ray_actor_options=options, placement="pack"), 4)
    assert len({answer["node"] for answer in packed}) == 1


def test_replicas_per_node(app: None):
    """No node has more replicas of a deployment than allowed; the next one waits, and says so."""
    options: dict[str, Any] = {
        "max_replicas_per_node": 2,
        "ray_actor_options": {"num_cpus": 0},
        "placement": "pack",
    }
    answers = told(run(4, **options), 4)
    nodes = [answer["node"] for answer in answers]
    assert sorted(map(nodes.count, set(nodes))) == [2, 2]
    spec = ActorSpec("alacarte:test:x", _PROBE, group="default#Where", max_per_node=2)
    missing = wait_until(lambda: on_cluster(lambda cluster: cluster.missing(spec)))
    assert missing == {"room for default#Where (at most 2 on a node)": (1.0, 0.0)}


def test_placement_group(app: None):
    """A replica lives in the first bundle of a group of its own, and its tasks in the others."""
    handle = run(
        2,
        placement_group_bundles=[{"CPU": 1}, {"CPU": 1, "special": 1}],
        placement_group_strategy="SPREAD",
    )
    answers = told(handle, 2)
    own = {answer["group"] for answer in answers}
    assert len(own) == 2
    assert None not in own
    assert handle.child.remote().result(timeout_s=60) in own
    assert len(groups()) == 2
    serve.delete("default")
    wait_until(lambda: groups() == [], 20, "the end of the groups")


def test_bundles_on_labelled_nodes(app: None, node: str):
    """Bundles lie on nodes with the labels that are asked for."""
    handle = run(
        placement_group_bundles=[{"CPU": 1}, {"CPU": 1}],
        placement_group_bundle_label_selector=[{"zone": "b"}],
    )
    assert told(handle)[0]["node"] == node


def test_a_killed_replica_gives_its_bundles_back(app: None):
    """The group of a replica that was killed goes; its successor has one of its own."""
    handle = run(placement_group_bundles=[{"CPU": 1}])
    [before] = told(handle)
    [name] = groups()
    ray.kill(ray.get_actor(name, namespace="alacarte"))

    def replaced() -> bool:
        try:
            return bool(handle.remote().result(timeout_s=60)["group"] != before["group"])
        except ReplicaUnavailableError:
            return False  # this call was on its way as the replica died

    wait_until(replaced, 60)
    wait_until(lambda: len(groups()) == 1 and groups() != [name], 20, "the end of the group")


def test_bundles_that_nobody_owns_are_swept(app: None):
    """What a controller set aside, and did not live to use, its successor gives back."""
    run(placement_group_bundles=[{"CPU": 1}])
    [living] = groups()
    left = f"{living}-left"
    ray.util.placement_group([{"CPU": 1}], name=left, lifetime="detached")
    wait_until(lambda: len(groups()) == 2)
    on_cluster(lambda cluster: cluster.release(living.partition("replica:")[0]))
    wait_until(lambda: groups() == [living])
    assert told(serve.get_app_handle("default"))


def test_missing(instance: None, node: str):
    """What a start lacks is told by resource: how much is needed, and what the best node has."""

    def missing(**fields: Any) -> Any:
        spec = ActorSpec("alacarte:test:x", _PROBE, **fields)
        return on_cluster(lambda cluster: cluster.missing(spec))

    wait_until(lambda: missing(options={"num_gpus": 1}) == {}, 20, "the GPU to be free again")
    assert missing(options={"num_gpus": 2}) == {"GPU": (2, 1)}
    assert missing(options={"resources": {"nowhere": 1}}) == {"nowhere": (1, 0)}
    assert missing(options={"num_cpus": 8, "num_gpus": 1}) == {"CPU": (8, 4)}
    assert missing(options={"label_selector": {"zone": "c"}}) == {"node with zone=c": (1, 0)}
    assert missing(node_id="0" * 56) == {f"node {'0' * 56}": (1, 0)}
    bundles = ({"CPU": 8}, {"CPU": 4})
    wait_until(lambda: missing(bundles=bundles) == {}, 20, "the CPUs to be free again")
    assert missing(bundles=bundles, bundle_strategy="STRICT_PACK") == {"CPU": (12, 8)}
    three = ({"CPU": 1},) * 3
    assert missing(bundles=three, bundle_strategy="STRICT_SPREAD") == {"node (bundle 2)": (1, 0)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_selector": {"zone": "in(b"}}, "Ray does not accept the options: Invalid label"),
        ({"runtime_env": {"env_vars": 7}}, "Ray does not accept the options"),
    ],
)
def test_options_that_ray_refuses(app: None, options: dict[str, Any], message: str):
    """What Ray does not accept is told to whoever deploys it."""
    with pytest.raises((ConfigError, DeployError), match=message):
        run(ray_actor_options=options)


def test_a_node_that_drains(ray_address: str, instance: None):
    """A node that is to go is known, with its time, and is no place for anything new."""
    plugins = load().loaded

    def start(cluster: Any, name: str, node_id: str = "", **options: Any) -> Any:
        spec = ActorSpec(name, _PROBE, options=options, node_id=node_id, plugins=plugins)
        return cluster.start_actor(spec)

    only_there = '--resources={"only_there": 3}'
    with added_node(ray_address, "--num-cpus=8", only_there) as node_id:
        # A node on which nothing runs would end at once.
        held = on_cluster(lambda cluster: start(cluster, "alacarte:test:held", node_id))
        until = time.time() + 300

        def seen() -> Any:
            nodes = on_cluster(lambda cluster: cluster.nodes())
            [found] = [each for each in nodes if each.node_id == node_id]
            return found

        assert seen().draining_until is None
        drain(node_id, 300)
        assert math.isclose(wait_until(lambda: seen().draining_until), until, abs_tol=60)
        spec = ActorSpec("alacarte:test:x", _PROBE, options={"resources": {"only_there": 1}})
        assert on_cluster(lambda cluster: cluster.missing(spec)) == {"only_there": (1, 0)}

        async def elsewhere(cluster: Any) -> set[str]:
            actors = await asyncio.gather(
                *(start(cluster, f"alacarte:test:{n}", num_cpus=1) for n in range(4))
            )
            nodes = {(await actor.call("describe"))[1].node_id for actor in actors}
            for actor in actors:
                actor.kill()
            return nodes

        assert node_id not in on_cluster(elsewhere)
        held.kill()
