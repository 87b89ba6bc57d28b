"""Both clusters do all that core relies on, by the kit that `alacarte.testing` ships."""

from __future__ import annotations

import asyncio
import pickle
import threading
from concurrent.futures import Future
from dataclasses import replace

import pytest

from alacarte._cluster.cluster_protocol import ActorSpec, Cluster, NotStarted
from alacarte._cluster.local import LocalCluster
from alacarte.testing import check_cluster, check_plugin


@pytest.mark.minimums
def test_cluster(cluster: str):
    """Actors, names, ends, refusals, the map and the nodes are as promised."""
    asyncio.run(check_cluster(_cluster(cluster)))


@pytest.mark.parametrize(
    "name",
    ["core", "http", "handles", "batching", "multiplexing", "autoscaling", "endpoints", "cli"],
)
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


async def test_a_process_makes_its_actor_once(monkeypatch: pytest.MonkeyPatch):
    """Somebody may find its name, and call it, before whoever started it has done so."""
    from alacarte._cluster.ray import RayCluster
    from alacarte._cluster.ray import process as on_ray

    made: list[object] = []
    go_on = threading.Event()

    class Host:
        def __init__(self, *args: object) -> None:
            made.append(self)
            go_on.wait(30)

        def submit(self, method: str, args: tuple[object, ...]) -> Future[str]:
            done: Future[str] = Future()
            done.set_result(method)
            return done

    monkeypatch.setattr(on_ray, "ActorHost", Host)
    monkeypatch.setattr(on_ray, "this_node", lambda: None)
    process = on_ray.Process(ActorSpec("alacarte:check:once", "nowhere:Nothing"), RayCluster)
    begun = asyncio.create_task(process.start_actor())
    called = asyncio.create_task(process.call("told", ()))
    await asyncio.sleep(0)  # both are on their way
    go_on.set()
    await begun
    assert await called == "told"
    assert len(made) == 1


async def test_arguments_come_after_the_start():
    """Ray's control store keeps what a process is started with, so that holds no arguments.

    Until they have come, the process says so to whoever finds it.
    """
    from alacarte._cluster.ray import RayCluster
    from alacarte._cluster.ray import process as on_ray

    spec = ActorSpec(
        "alacarte:check:secret", "nowhere:Nothing", ("CANARY",), options={"memory": "CANARY"}
    )
    kept = on_ray.stored_part(spec)
    assert b"CANARY" not in pickle.dumps(kept)
    process = on_ray.Process(kept, RayCluster)
    with pytest.raises(NotStarted, match="alacarte:check:secret has not been given its arguments"):
        await process.call("told", ())
    with pytest.raises(ValueError, match="cannot have arguments"):
        on_ray.stored_part(replace(spec, restarts=True))
