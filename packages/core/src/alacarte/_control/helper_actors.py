"""Helper processes of plugins, run as actors."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import TypeVar

from .._cluster.cluster_protocol import Actor, ActorSpec, Cluster
from .._cluster.stubs import stub
from .._plugins import PluginRecord
from ..types import HelperProcess

__all__ = ["HelperActors"]

P = TypeVar("P")


class HelperActors:
    """The `HelperProcesses` of a plugin: actors whose names share a prefix.

    Args:
        prefix: Prefix of the actors' names.
        plugins: Plugins that each process loads.
    """

    def __init__(self, cluster: Cluster, prefix: str, plugins: tuple[PluginRecord, ...]) -> None:
        self._cluster = cluster
        self._prefix = prefix
        self._plugins = plugins

    async def start(self, target: str, *, import_paths: Sequence[str] = ()) -> HelperProcess:
        name = f"{self._prefix}{secrets.token_hex(3)}"
        paths = tuple(import_paths)
        spec = ActorSpec(name, target, plugins=self._plugins, import_paths=paths, is_helper=True)
        return _HelperActor(await self._cluster.start_actor(spec))

    async def running(self) -> list[HelperProcess]:
        names = await self._cluster.list_actors(self._prefix)
        found = [await self._cluster.find_actor(name) for name in names]
        return [_HelperActor(actor) for actor in found if actor is not None]


class _HelperActor:
    """A `HelperProcess`: the handle of one actor."""

    def __init__(self, actor: Actor) -> None:
        self.name = actor.name
        self._actor = actor

    def stub(self, protocol: Callable[..., P]) -> P:
        return stub(protocol, self._actor)

    def kill(self) -> None:
        self._actor.kill()
