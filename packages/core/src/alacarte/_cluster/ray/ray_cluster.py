"""The implementation of `Cluster` on Ray."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray.util import list_named_actors
from ray.util.placement_group import PlacementGroup, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ...errors import ConfigError
from ..cluster_protocol import Actor, ActorDied, ActorSpec, Capacity, Node
from ..grpc_probe import GrpcProbeResult, probe
from .control_store import CALLS, DurableMap, answer
from .error_cause import first_line
from .free_resources import compute_capacity, missing_resources
from .internals import groups_named
from .joining import NAMESPACE, find, join
from .nodes import end_process, list_nodes
from .placement_groups import options_of, reserve
from .process import Process, stored_part
from .ray_actor import RayActor, check_connected, connection_id

__all__ = ["RayCluster"]

_MAX_CONCURRENT_CALLS = 10_000
_PROBE_TIMEOUT_S = 1.0


class RayCluster(DurableMap):
    """The Ray cluster that this process is connected to."""

    kind = "ray"

    def __init__(self) -> None:
        self._starting: set[str] = set()
        self._connection = connection_id()

    @property
    def is_connected(self) -> bool:
        return connection_id() == self._connection

    @property
    def node_id(self) -> str:
        return str(ray.get_runtime_context().get_node_id())

    def is_reachable(self) -> bool:
        host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
        try:
            result = probe(host.strip("[]"), int(port), _PROBE_TIMEOUT_S)
        except OSError:
            return False
        return result is not GrpcProbeResult.SILENT

    @classmethod
    def connect(
        cls, address: str | None = None, *, only_running: bool = False
    ) -> RayCluster | None:
        """Connect this process to Ray, as `join` does; return None when `join` returns False."""
        return cls() if join(address, only_running=only_running) else None

    @staticmethod
    def connected() -> bool:
        """Return whether this process is connected to a cluster."""
        return bool(ray.is_initialized())

    @staticmethod
    def find(address: str | None = None, *, any_here: bool = False) -> str | None:
        """Return the address of a running cluster; see `joining.find`."""
        return find(address, any_here=any_here)

    async def start_actor(self, spec: ActorSpec) -> Actor:
        self._starting.add(spec.name)
        try:
            group = await reserve(spec) if spec.bundles else None
            try:
                return await self._spawn(spec, group)
            except BaseException:
                if group is not None:
                    CALLS.submit(functools.partial(remove_placement_group, group))
                raise
        finally:
            self._starting.discard(spec.name)

    async def _spawn(self, spec: ActorSpec, group: PlacementGroup | None) -> RayActor:
        try:
            process = _remote(Process).options(
                name=spec.name,
                namespace=NAMESPACE,
                lifetime="detached",
                max_concurrency=_MAX_CONCURRENT_CALLS,
                max_restarts=-1 if spec.restarts else 0,
                max_task_retries=0,
                **options_of(spec, group),
            )
        except (TypeError, ValueError) as error:
            raise ConfigError(f"Ray does not accept the options: {first_line(error)}") from None
        try:
            # Ray blocks on its control store to start a named actor.
            arguments = (stored_part(spec), RayCluster)
            start: Callable[[], Any] = functools.partial(process.remote, *arguments)
            handle = await answer(f"starting {spec.name}", start, ray.kill)
        except ValueError as error:
            if "already" in str(error):
                raise ActorDied(f"{spec.name} cannot be started: {error}") from None
            raise ConfigError(f"Ray does not accept the options: {first_line(error)}") from None
        actor = RayActor(spec.name, handle, group is not None, spec.title, restarts=spec.restarts)
        try:
            await actor.begin(spec.args)
        except BaseException:
            actor.kill()
            raise
        return actor

    async def missing(self, spec: ActorSpec) -> dict[str, tuple[float, float]]:
        return await answer("reading free resources", functools.partial(missing_resources, spec))

    async def capacity(self, demand: Mapping[str, tuple[ActorSpec, int]]) -> Capacity:
        return await answer("reading total resources", functools.partial(compute_capacity, demand))

    async def find_actor(self, name: str) -> Actor | None:
        check_connected(self._connection)
        try:
            handle = await answer(f"finding {name}", lambda: ray.get_actor(name, NAMESPACE))
        except ValueError:
            return None
        return RayActor(name, handle)

    async def list_actors(self, prefix: str) -> list[str]:
        check_connected(self._connection)
        found = await answer("listing actors", lambda: list_named_actors(all_namespaces=True))
        return [
            actor["name"]
            for actor in found
            if actor["namespace"] == NAMESPACE and actor["name"].startswith(prefix)
        ]

    async def end_process(self, node_id: str, pid: int) -> None:
        on_node = NodeAffinitySchedulingStrategy(node_id, soft=False)
        task = _remote(end_process).options(num_cpus=0, max_retries=0, scheduling_strategy=on_node)
        await answer(f"ending process {pid}", lambda: task.remote(pid))

    async def release(self, prefix: str) -> None:
        # In this order: an actor that starts meanwhile is among the living.
        groups = await answer("listing placement groups", lambda: groups_named(prefix))
        living = {*await self.list_actors(prefix), *self._starting}
        for name, group in groups:
            if name not in living:
                remove = functools.partial(remove_placement_group, group)
                await answer(f"releasing the bundles of {name}", remove)

    async def nodes(self) -> list[Node]:
        return await answer("listing nodes", list_nodes)


@functools.cache
def _remote(code: Callable[..., object]) -> Any:
    """Return a class or function as a Ray actor class or task, made once in each process.

    Ray stores the code of each Ray class and task for good.
    """
    return ray.remote(code)
