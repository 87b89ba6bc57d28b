"""The final check of a world: replicas, durable map and status match the operations."""

from __future__ import annotations

from alacarte._control.storage import STATE_KEY, decode_index
from alacarte._process.controller_client import CONTROLLER_NAME
from alacarte.types import DeploymentId

from .clients import Caller
from .operations import Operation, bounds
from .world import World

__all__ = ["find_unsettled"]


def find_unsettled(world: World, callers: list[Caller]) -> str:
    """Return the first difference from the expected final state, "" for none."""
    wanted: dict[DeploymentId, Operation] = {}
    for app in world.operations.ops:
        op = world.operations.last(app)
        assert op is not None
        wanted |= {spec.id: op for spec in op.specs or ()}
    for deployment, op in wanted.items():
        missing = _missing(world, deployment, op, callers)
        if missing:
            return missing
    for name in world.cluster.records:
        replica = world.ledger.replicas.get(name)
        if replica is None:
            if name != CONTROLLER_NAME:
                return f"{name} is nobody's"
        elif replica.deployment not in wanted:
            return f"{name} belongs to a deployment that is gone"
    return _left_over(world)


def _left_over(world: World) -> str:
    """Return the keys of the durable map without a reference, "" for none."""
    stored = world.cluster.stored
    there = {key for key in stored if key.startswith(f"{STATE_KEY}/")}
    needed = decode_index(stored[STATE_KEY]).keys if STATE_KEY in stored else set()
    return "" if there == needed else f"stored: {sorted(there ^ needed)} are too many or missing"


def _missing(world: World, deployment: DeploymentId, op: Operation, callers: list[Caller]) -> str:
    spec = op.spec(deployment)
    assert spec is not None
    replicas = world.ledger.of(deployment)
    if deployment in op.failing:
        starting = [each.record.name for each in replicas if each.ready_at < 0]
        return f"{starting} may still start" if starting else ""
    if len(replicas) != bounds(spec)[0]:  # nobody calls any more
        return f"{deployment} has {len(replicas)} replicas"
    for replica in replicas:
        if (
            not replica.stays
            or replica.sick
            or not replica.serves
            or replica.version != spec.version
        ):
            return f"{replica.record.name} of {replica.version} is not what is wanted"
    names = {replica.record.name.rpartition(":")[2] for replica in replicas}
    for caller in callers:
        router = caller.runtime and caller.runtime.routers.get(deployment)
        if router and {load.replica_id for load in router.replicas} != names:
            known = sorted(load.replica_id for load in router.replicas)
            return f"{caller.process.name} knows {known} of {deployment}, not {sorted(names)}"
    return ""
