"""The process of a node service: a plugin's object with a runtime."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from .._cluster.host import spare_collections
from .._cluster.protocol import ActorContext
from .._routing.runtime import InstanceAccess, ProcessRuntime
from .._settings import ConfigValues
from ..context import current_runtime
from ..types import NodeService

__all__ = ["ServiceActor"]


class ServiceActor:
    """Hosts a `NodeService`. Made and called through the cluster."""

    def __init__(
        self, context: ActorContext, target: str, secret: bytes, config: Mapping[str, Any]
    ) -> None:
        self._cluster = context.cluster
        self._facts: dict[str, str] | None = None
        module, _, name = target.partition(":")
        self._service: NodeService = getattr(importlib.import_module(module), name)()
        self._runtime = ProcessRuntime(
            InstanceAccess(context.cluster, secret, config["cluster"]["max_message_bytes"]),
            context.plugins,
            ConfigValues(context.plugins, config),
            node_id=context.node.node_id,
            name=context.name,
        )

    async def start(self) -> dict[str, str]:
        """Start the service; return its facts."""
        current_runtime.set(self._runtime)
        self._facts = dict(await self._service.start(self._runtime))
        spare_collections(self._cluster)
        return self._facts

    async def describe(self) -> dict[str, str] | None:
        """Return the service's facts, None before it has started."""
        return self._facts

    async def stop(self) -> None:
        """Let it answer what it accepted, then end it."""
        await self._service.drain()
        await self._service.stop()
        await self._runtime.close()

    async def abort(self) -> None:
        """Hang up at once, as the end of a process does."""
        try:
            await self._service.stop()
        finally:
            await self._runtime.close()
