"""Sender of messages to the processes of a node service on this node."""

from __future__ import annotations

import asyncio

from .._cluster.cluster_protocol import Cluster
from .._cluster.stubs import stub
from ..actors import ActorDied, NodeServiceProtocol, NotStarted
from ..errors import NotFoundError, PluginError

__all__ = ["ServiceSender"]

_MAX_MESSAGE_BYTES = 1024 * 1024
_START_S = 10.0
"""Time to wait for processes that have not started their service yet."""
_PAUSE_S = 0.1


class ServiceSender:
    """A `NodeServiceSender`. Stateless: lists the processes for each message.

    A message is sent again only after `NotStarted`, which guarantees that it was not processed.

    Args:
        group: Prefix of the processes' names; their indices follow.
    """

    def __init__(self, cluster: Cluster, group: str) -> None:
        self._cluster = cluster
        self._prefix = f"{group}:"

    async def send(self, message: bytes) -> list[bytes]:
        if len(message) > _MAX_MESSAGE_BYTES:
            raise PluginError(
                f"a message to a node service has {len(message)} bytes, the limit is "
                f"{_MAX_MESSAGE_BYTES}: send it in parts, or write it to a file."
            )
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + _START_S
        answers: dict[str, bytes] = {}
        while True:
            names = [name for name in await self._list() if name not in answers]
            asked = [self._ask(name, message) for name in names]
            found = await asyncio.gather(*asked, return_exceptions=True)
            pending: set[str] = set()
            for name, answer in zip(names, found, strict=True):
                if isinstance(answer, NotStarted):
                    pending.add(self._index(name))
                elif isinstance(answer, BaseException):
                    raise answer
                elif answer is not None:
                    answers[name] = answer
            # Of a process and its successor, one answer is enough.
            pending -= {self._index(name) for name in answers}
            if not pending or loop.time() >= give_up_at:
                break
            await asyncio.sleep(_PAUSE_S)
        if answers:
            return list(answers.values())
        if pending:
            raise NotFoundError(
                f"no process of {self._prefix!r} has started its service within {_START_S:g} s; "
                "see serve.status().services for the reason, and send the message again."
            )
        raise NotFoundError(
            f"no process of {self._prefix!r} runs: the service does not run on this node, or it "
            "restarts; see serve.status().services, and send the message again."
        )

    async def _list(self) -> list[str]:
        return await self._cluster.list_actors(self._prefix)

    async def _ask(self, name: str, message: bytes) -> bytes | None:
        """Return a process's answer, None for a process that has ended."""
        actor = await self._cluster.find_actor(name)
        if actor is None:
            return None
        try:
            return await stub(NodeServiceProtocol, actor).receive(message)
        except NotStarted:
            raise
        except ActorDied as error:
            raise ActorDied(
                f"{name} ended before it answered a message, and may have processed it. Send the "
                f"message again only if a repetition does no harm ({error})."
            ) from None

    def _index(self, name: str) -> str:
        return name.removeprefix(self._prefix).partition(":")[0]
