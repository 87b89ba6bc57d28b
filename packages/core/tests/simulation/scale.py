"""Measurement of the controller with ten thousand replicas: `python -m simulation.scale`.

The real controller; the replicas only say that they are ready, so that they fit into one process.
"""

from __future__ import annotations

import argparse
import gc
import pickle
import sys
import time
from collections.abc import Callable
from typing import Any

from alacarte._cluster.cluster_protocol import ActorContext
from alacarte._control.controller import Controller
from alacarte._control.placement import REPLICA_TARGET
from alacarte._model.deployment_spec import ApplicationSpec, DeploymentSpec
from alacarte._model.snapshots import deployment_key
from alacarte._process.controller_client import CONTROLLER_NAME
from alacarte._replica.replica_spec import ReplicaSpec
from alacarte.actors import Liveness, Membership, ReplicaInfo
from alacarte.config import DeploymentConfig
from alacarte.types import Address, DeploymentId, Resource

from .clients import begun
from .loop import START
from .world import World, nobody_running

__all__ = ["Figures", "measure"]

_PASSES = 7
_PER_APP = 10
_BOUND_S = 600.0

Figures = dict[str, float]


class _Silent:
    """A replica that only reports that it is ready."""

    def __init__(self, context: ActorContext, spec: ReplicaSpec, membership: Membership) -> None:
        self._started = ReplicaInfo(
            spec.deployment,
            spec.replica_id,
            spec.version,
            Address("", "simulated", ("10.0.0.1", 1)),
            context.node.node_id,
            1,
            spec.max_ongoing,
            spec.user_config,
        )
        self._membership = membership

    async def start(self) -> ReplicaInfo:
        return self._started

    def describe(self) -> ReplicaInfo:
        return self._started

    def membership(self) -> Membership:
        return self._membership

    def probe_liveness(self) -> Liveness:
        return Liveness(0.0, 0, 0, 5)

    async def stop(self, timeout_s: float) -> None:
        """Return at once."""


def measure(deployments: int, replicas: int) -> Figures:
    """Bring up so many deployments with so many replicas together, and measure."""
    world = World(0)
    with nobody_running(), world.at_work():
        return _measure(world, deployments, replicas // deployments)


def _measure(world: World, deployments: int, each: int) -> Figures:
    world.cluster.targets[REPLICA_TARGET] = _Silent
    world.cluster.add_node(1e6, is_head=True)
    world.cluster.observe = _ignored
    resources = [_resource(app, each) for app in range(deployments // _PER_APP)]
    process = world.process("driver")
    process.post(0.0, lambda: process.create_task(_deploy(world, resources)))

    wanted, next_look = deployments * each, START

    def is_up() -> bool:
        nonlocal next_look
        if world.now < next_look or len(world.cluster.records) <= wanted:
            return False
        next_look = world.now + 1.0
        return _entries(world) == wanted

    world.scheduler.run(is_up, START + _BOUND_S)
    controller = _controller(world)
    loop = controller._loop
    groups = list(loop.groups.values())
    gc.collect()
    gc.freeze()
    try:
        whole = _best(lambda: [loop._reconcile(group) for group in groups])
        one = _best(lambda: loop._reconcile(groups[0]))
        expand = _best(controller._apply_committed)
    finally:
        gc.unfreeze()
    return {"pass_ms": whole, "one_ms": one, "apply_ms": expand, **_change(world, controller)}


def _change(world: World, controller: Controller) -> Figures:
    """Let one replica die; return the size of its watchers' update, in bytes."""
    group = next(iter(controller._loop.groups.values()))
    key = deployment_key(group.deployment)
    hub = controller._publisher.hub
    before = hub.current(key)
    [name, *_] = group.actor_names
    world.cluster.die(world.cluster.records[name], "killed")
    world.scheduler.run(lambda: hub.current(key).version != before.version, world.now + _BOUND_S)
    news = hub._newer_value(key, before.version)
    everything = hub.current(key)
    return {"delta_bytes": len(pickle.dumps(news)), "whole_bytes": len(pickle.dumps(everything))}


def _best(work: Callable[[], object]) -> float:
    """Return the shortest time of several, in milliseconds."""
    took = []
    for _ in range(_PASSES):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return 1000 * min(took)


async def _deploy(world: World, resources: list[Resource]) -> None:
    connection = await begun(world)
    await connection.store({}, resources)


def _resource(app: int, each: int) -> Resource:
    config = DeploymentConfig(num_replicas=each, health_check_period_s=1e6)
    ids = [DeploymentId(f"app{app}", f"d{number}") for number in range(_PER_APP)]
    specs = tuple(DeploymentSpec(each_id, "1", b"", b"", False, config) for each_id in ids)
    name = f"app{app}"
    return Resource("application", name, ApplicationSpec(name, None, ids[-1], specs))


def _controller(world: World) -> Controller:
    controller = world.cluster.records[CONTROLLER_NAME].instance._controller
    assert isinstance(controller, Controller)
    return controller


def _entries(world: World) -> int:
    return sum(len(group.entries) for group in _controller(world)._loop.groups.values())


def _ignored(*_: Any) -> None:
    """Ignore an event of the ledger."""


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="simulation.scale", description=__doc__)
    parser.add_argument("--deployments", type=int, default=1000)
    parser.add_argument("--replicas", type=int, default=10_000)
    asked = parser.parse_args()
    figures = measure(asked.deployments, asked.replicas)
    print(
        f"{asked.replicas} replicas in {asked.deployments} deployments\n"
        f"a pass over all of them        {figures['pass_ms']:8.1f} ms\n"
        f"a pass over the one that changed {figures['one_ms']:6.2f} ms\n"
        f"an apply, but for storing      {figures['apply_ms']:8.1f} ms\n"
        f"one replica fewer, as told     {figures['delta_bytes']:8.0f} bytes\n"
        f"its deployment as a whole      {figures['whole_bytes']:8.0f} bytes"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
