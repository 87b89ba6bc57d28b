"""The process of a node service: a plugin's object with a runtime."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from collections.abc import Mapping
from dataclasses import replace

from .._cluster.cluster_protocol import ActorContext
from .._cluster.garbage_collection import freeze_gc
from .._cluster.host_sockets import sweep_sockets
from .._process.process_runtime import InstanceAccess, ProcessRuntime
from .._section_values import SectionValues
from .._wire.error_codec import rebuild_error
from ..actors import Membership, NotStarted
from ..context import current_runtime
from ..errors import PluginError
from ..foreign import load_target
from ..types import MessageReceiver, NodeService, ProcessInfo

__all__ = ["NodeServiceActor"]


class HostedServiceContext:
    """The `ServiceContext` of a process that `NodeServiceActor` hosts.

    Args:
        group: Unique name of the service on this node, shared by its processes.
        directory: Directory of Unix sockets.
    """

    def __init__(self, index: int, metadata: Mapping[str, str], group: str, directory: str) -> None:
        self.index = index
        self.metadata = metadata
        # Short, because the path of a Unix socket has at most 107 characters.
        self._group = hashlib.sha256(group.encode()).hexdigest()[:12]
        self._directory = directory
        self._own: set[str] = set()

    def new_socket(self) -> str:
        # The process id first: `sweep_sockets` removes the sockets of dead processes by it.
        name = f"{os.getpid()}-{self._group}-{secrets.token_hex(4)}.sock"
        path = os.path.join(self._directory, name)
        self._own.add(path)
        return path

    def sibling_sockets(self) -> list[str]:
        sweep_sockets(self._directory)
        names = sorted(os.listdir(self._directory))
        paths = [
            os.path.join(self._directory, name)
            for name in names
            if name.partition("-")[2].startswith(f"{self._group}-")
        ]
        return [path for path in paths if path not in self._own]


class NodeServiceActor:
    """The actor that hosts a `NodeService`.

    Args:
        target: Import path of the plugin's service.
        process: Description of this process, for plugins.
        membership: Membership of the instance.
        group: Unique name of the service on this node.
        index: Index of this process among the service's processes on this node.
        metadata: Metadata of the process that this one replaces, or of a sibling.
    """

    def __init__(
        self,
        context: ActorContext,
        target: str,
        process: ProcessInfo,
        membership: Membership,
        group: str,
        index: int,
        metadata: Mapping[str, str],
    ) -> None:
        self._cluster = context.cluster
        self._name = context.name
        self._metadata: dict[str, str] | None = None
        self._takes_messages = False
        self._receiving: set[asyncio.Task[object]] = set()
        self._service: NodeService = load_target(target)()
        self._membership = membership
        self._access = InstanceAccess.of(membership, context.cluster)
        self._runtime = ProcessRuntime(
            self._access,
            context.plugins,
            SectionValues(context.plugins, membership.config),
            process=process,
            # Node services receive foreign requests, and must not import users' code.
            decode_error=rebuild_error,
            service_context=HostedServiceContext(index, metadata, group, context.socket_dir),
        )

    async def start(self) -> dict[str, str]:
        """Start the service and return its metadata."""
        current_runtime.set(self._runtime)
        self._metadata = dict(await self._service.start(self._runtime))
        self._takes_messages = True
        freeze_gc(self._cluster)
        return self._metadata

    def membership(self) -> Membership:
        """Return the membership, for a controller that has restarted without one.

        Runs on the host's thread, even while the service's loop is blocked.
        """
        return replace(self._membership, secret=self._access.secret)

    def describe(self) -> dict[str, str] | None:
        """Return the service's metadata, None before it has started.

        Runs on the host's thread, as `membership` does.
        """
        return self._metadata

    async def receive(self, message: bytes) -> bytes:
        """Pass a message from a process on this node to the service; return the answer."""
        if not isinstance(self._service, MessageReceiver):
            raise PluginError(
                f"node service {type(self._service).__qualname__} accepts no messages: it has no "
                "`receive` method"
            )
        if not self._takes_messages:
            raise NotStarted(f"{self._name} has not started its service yet, or is stopping")
        task = asyncio.current_task()
        assert task is not None
        self._receiving.add(task)
        try:
            return await self._service.receive(message)
        finally:
            self._receiving.discard(task)

    async def stop(self, limit_s: float, replaced: bool) -> None:
        """Drain the service, messages included, then stop it."""
        self._takes_messages = False
        answered = asyncio.create_task(self._answer_messages(limit_s))
        try:
            await self._service.drain(limit_s, replaced=replaced)
            await answered
        finally:
            answered.cancel()
        await self._runtime.stopping()
        await self.abort()

    async def _answer_messages(self, limit_s: float) -> None:
        if self._receiving:
            await asyncio.wait(self._receiving, timeout=limit_s)

    async def abort(self) -> None:
        """Stop the service at once and close all connections."""
        self._takes_messages = False
        try:
            await self._service.stop()
        finally:
            await self._runtime.close()
