"""The process of a node service: a plugin's object with a runtime."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .._cluster.cluster_protocol import ActorContext
from .._cluster.host import freeze_gc, sweep_sockets
from .._process.process_runtime import InstanceAccess, ProcessRuntime
from .._settings import SectionValues
from .._wire.error_codec import rebuild_error
from ..actors import Membership, NotStarted
from ..context import current_runtime
from ..errors import PluginError
from ..foreign import load_target
from ..types import MessageReceiver, NodeService, ProcessInfo

__all__ = ["ServiceActor"]


class Place:
    """A `ServiceContext`.

    Args:
        group: The same for all processes of this service on this node, and for no others.
        directory: For Unix sockets.
    """

    def __init__(self, index: int, facts: Mapping[str, str], group: str, directory: str) -> None:
        self.index = index
        self.facts = facts
        # Short, since the path of a Unix socket may have 107 characters at most.
        self._group = hashlib.sha256(group.encode()).hexdigest()[:12]
        self._directory = directory
        self._own: set[str] = set()

    def new_socket(self) -> str:
        # The process first: by it the sockets of those that were killed are swept.
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


class ServiceActor:
    """Hosts a `NodeService`. Made and called through the cluster.

    Args:
        target: The plugin's service.
        process: Of the instance.
        membership: What makes this process one of the instance.
        group: Names this service on this node.
        facts: Of the process before this one in its place, or of a sibling.
    """

    def __init__(
        self,
        context: ActorContext,
        target: str,
        process: ProcessInfo,
        membership: Membership,
        group: str,
        index: int,
        facts: Mapping[str, str],
    ) -> None:
        self._cluster = context.cluster
        self._name = context.name
        self._facts: dict[str, str] | None = None
        self._takes_messages = False
        self._receiving: set[asyncio.Task[Any]] = set()
        self._service: NodeService = load_target(target)()
        self._membership = membership
        self._access = InstanceAccess.of(membership, context.cluster)
        self._runtime = ProcessRuntime(
            self._access,
            context.plugins,
            SectionValues(context.plugins, membership.config),
            process=process,
            # It faces strangers, and must not import the code of users.
            decode_error=rebuild_error,
            place=Place(index, facts, group, context.socket_dir),
        )

    async def start(self) -> dict[str, str]:
        """Start the service; return its facts."""
        current_runtime.set(self._runtime)
        self._facts = dict(await self._service.start(self._runtime))
        self._takes_messages = True
        freeze_gc(self._cluster)
        return self._facts

    def membership(self) -> Membership:
        """Return what it was given, for a controller that has just come up and has none.

        Answered by the host's thread, whatever the service's loop is busy with.
        """
        return replace(self._membership, secret=self._access.secret)

    def describe(self) -> dict[str, str] | None:
        """Return the service's facts, None before it has started.

        Answered by the host's thread, as `membership` is.
        """
        return self._facts

    async def receive(self, message: bytes) -> bytes:
        """Hand a message of a process on this node to the service; return its answer."""
        if not isinstance(self._service, MessageReceiver):
            raise PluginError(f"{type(self._service).__qualname__} takes no messages: no `receive`")
        if not self._takes_messages:
            raise NotStarted(f"{self._name} has not started its service yet, or ends it")
        task = asyncio.current_task()
        assert task is not None
        self._receiving.add(task)
        try:
            return await self._service.receive(message)
        finally:
            self._receiving.discard(task)

    async def stop(self, limit_s: float, replaced: bool) -> None:
        """Let it answer what it accepted, messages included, then end it."""
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
        """Hang up at once, as the end of a process does."""
        self._takes_messages = False
        try:
            await self._service.stop()
        finally:
            await self._runtime.close()
