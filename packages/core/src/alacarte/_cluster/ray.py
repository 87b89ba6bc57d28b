"""The Ray cluster: every actor is a Ray actor. The only module that imports Ray.

Ray places processes, watches them and finds them by name; requests never pass through it.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import ray
from ray import exceptions
from ray._raylet import IMPLICIT_RESOURCE_PREFIX  # type: ignore[attr-defined]
from ray.experimental import internal_kv
from ray.util import list_named_actors
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ..errors import ConfigError, PluginError
from .host import ActorHost
from .protocol import Actor, ActorDied, ActorSpec, Node

__all__ = ["RayCluster"]

log = logging.getLogger("alacarte.cluster")
NAMESPACE = "alacarte"
_KV_NAMESPACE = b"alacarte"
_CALLS_AT_ONCE = 10_000
T = TypeVar("T")


class _Process:
    """What Ray runs in each process: a host for one actor of ours.

    Ray calls these on an event loop of its own, apart from the actor's.
    """

    def __init__(self, spec: ActorSpec) -> None:
        self._host: asyncio.Future[ActorHost] | None = None
        self._spec = spec

    async def begin(self) -> None:
        """Make the actor. Apart from the constructor, so that an error arrives as itself."""
        await self._made()

    async def call(self, method: str, args: tuple[Any, ...]) -> Any:
        # Ray may have started the process again, under its old name; then nobody calls `begin`.
        host = await self._made()
        return await asyncio.wrap_future(host.submit(method, args))

    async def _made(self) -> ActorHost:
        """Return the host, made once: somebody may find its name before `begin` is done."""
        if self._host is None:
            host = functools.partial(ActorHost, self._spec, RayCluster(), _this_node())
            self._host = asyncio.get_running_loop().run_in_executor(None, host)
        return await asyncio.shield(self._host)

    async def live(self) -> None:
        """Never return: the caller learns of the end of this process by the end of the call."""
        await asyncio.Event().wait()


class RayActor:
    """A reference to a Ray actor."""

    def __init__(self, name: str, handle: Any) -> None:
        self.name = name
        self._handle = handle

    async def call(self, method: str, *args: Any) -> Any:
        try:
            return await self._handle.call.remote(method, args)
        except exceptions.RayTaskError as error:
            raise _cause(error) from None
        except exceptions.RayActorError as error:
            raise ActorDied(f"{self.name}: {_first_line(error)}") from None

    async def begin(self) -> None:
        try:
            await self._handle.begin.remote()
        except exceptions.RayTaskError as error:
            raise _cause(error) from None
        except exceptions.RayError as error:
            raise ActorDied(f"{self.name} did not come up: {_first_line(error)}") from None

    async def closed(self) -> str:
        while True:
            try:
                await self._handle.live.remote()
            except exceptions.ActorUnavailableError:
                await asyncio.sleep(0.1)  # Ray does not know yet; ask again
            except exceptions.RayError as error:
                return _first_line(error)

    def kill(self) -> None:
        ray.kill(self._handle, no_restart=True)


class RayCluster:
    """A `Cluster` on the Ray that this process is connected to."""

    kind = "ray"

    @property
    def authenticated(self) -> bool:
        try:
            from ray._private.authentication.authentication_utils import is_token_auth_enabled
        except ImportError:  # Ray before 2.52 authenticates nobody
            return False
        return bool(is_token_auth_enabled())

    @classmethod
    def connect(
        cls, address: str | None = None, *, only_running: bool = False
    ) -> RayCluster | None:
        """Connect this process to Ray, which is started here when none runs.

        Args:
            address: As `ray.init` takes it; None for `RAY_ADDRESS`, else a running local
                cluster, else a new one.
            only_running: Return None instead of starting a cluster.
        """
        if not ray.is_initialized():
            if only_running:
                address = address or "auto"
            try:
                ray.init(
                    address=address,
                    namespace=NAMESPACE,
                    logging_level=logging.WARNING,
                    include_dashboard=False,
                    log_to_driver=True,
                )
            except ConnectionError as error:
                if only_running:
                    return None
                raise ConfigError(f"no Ray cluster answers at {address!r}: {error}") from None
        return cls()

    async def start_actor(self, spec: ActorSpec) -> Actor:
        options = dict(spec.options)
        if spec.node_id:
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(
                spec.node_id, soft=False
            )
        if spec.max_per_node:
            # Ray counts this resource on every node without anyone declaring it.
            resources = dict(options.get("resources") or {})
            resources[f"{IMPLICIT_RESOURCE_PREFIX}{spec.group}"] = 1.0 / spec.max_per_node
            options["resources"] = resources
        process = ray.remote(_Process).options(
            name=spec.name,
            namespace=NAMESPACE,
            lifetime="detached",
            max_concurrency=_CALLS_AT_ONCE,
            max_restarts=-1 if spec.restarts else 0,
            max_task_retries=0,
            **{"num_cpus": 0, **options},
        )
        try:
            # Ray asks its control store for a named actor and blocks meanwhile.
            handle = await _blocking(process.remote, spec)
        except ValueError as error:
            raise ActorDied(f"{spec.name} cannot be started: {error}") from None
        actor = RayActor(spec.name, handle)
        try:
            await actor.begin()
        except BaseException:
            actor.kill()
            raise
        return actor

    async def has_room(self, spec: ActorSpec) -> bool:
        if spec.max_per_node:  # Ray does not tell what is left of that
            return False
        free = await _blocking(ray.available_resources)
        return all(free.get(name, 0) >= amount for name, amount in _needs(spec.options).items())

    async def find_actor(self, name: str) -> Actor | None:
        try:
            handle = await _blocking(ray.get_actor, name, NAMESPACE)
        except ValueError:
            return None
        return RayActor(name, handle)

    async def list_actors(self, prefix: str) -> list[str]:
        found = await _blocking(functools.partial(list_named_actors, all_namespaces=True))
        return [
            actor["name"]
            for actor in found
            if actor["namespace"] == NAMESPACE and actor["name"].startswith(prefix)
        ]

    async def nodes(self) -> list[Node]:
        return [
            Node(
                node["NodeID"],
                node["NodeManagerAddress"],
                is_head="node:__internal_head__" in node["Resources"],
            )
            for node in await _blocking(ray.nodes)
            if node["Alive"]
        ]

    async def get(self, key: str) -> bytes | None:
        return await _blocking(
            functools.partial(internal_kv._internal_kv_get, key, namespace=_KV_NAMESPACE)
        )

    async def put(self, key: str, value: bytes) -> None:
        await _blocking(
            functools.partial(internal_kv._internal_kv_put, key, value, namespace=_KV_NAMESPACE)
        )

    async def delete(self, key: str) -> None:
        await _blocking(
            functools.partial(internal_kv._internal_kv_del, key, namespace=_KV_NAMESPACE)
        )


def _needs(options: Mapping[str, Any]) -> dict[str, float]:
    """Return what an actor takes of its node, under Ray's names for it."""
    names = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
    plain = {ray_name: options.get(name) or 0 for name, ray_name in names.items()}
    needs = {**plain, **(options.get("resources") or {})}
    return {name: float(amount) for name, amount in needs.items() if amount}


async def _blocking(function: Callable[..., T], *args: Any) -> T:
    """Run a call that blocks on Ray's control store in a thread."""
    return await asyncio.get_running_loop().run_in_executor(None, function, *args)


def _this_node() -> Node:
    context = ray.get_runtime_context()
    return Node(context.get_node_id(), str(ray.util.get_node_ip_address()))  # type: ignore[no-untyped-call]


def _cause(error: exceptions.RayTaskError) -> BaseException:
    """Return the exception as it was raised in the actor."""
    cause = error.cause
    return cause if isinstance(cause, BaseException) else PluginError(str(error))


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
