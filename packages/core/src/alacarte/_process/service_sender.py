"""Sends messages to the processes of a node service on this node."""

from __future__ import annotations

import asyncio

from .._cluster.protocol import Cluster
from .._cluster.stubs import stub
from ..actors import ActorDied, NodeServiceProtocol
from ..errors import NotFoundError, PluginError

__all__ = ["ServiceSender"]

_TRIES = 3
_MAX_MESSAGE_BYTES = 1024 * 1024


class ServiceSender:
    """A `NodeServiceSender`. Finds the processes once, and again when one of them has ended.

    Args:
        group: The beginning of the processes' names.
    """

    def __init__(self, cluster: Cluster, group: str) -> None:
        self._cluster = cluster
        self._group = group
        self._processes: list[NodeServiceProtocol] = []

    async def send(self, message: bytes) -> list[bytes]:
        if len(message) > _MAX_MESSAGE_BYTES:
            raise PluginError(
                f"a message to a node service takes {len(message)} bytes, at most "
                f"{_MAX_MESSAGE_BYTES} are allowed: send it in parts, or write it to a file."
            )
        for _ in range(_TRIES):
            if not self._processes:
                self._processes = await self._find()
            asked = [process.receive(message) for process in self._processes]
            answers = await asyncio.gather(*asked, return_exceptions=True)
            living = [answer for answer in answers if not isinstance(answer, ActorDied)]
            if len(living) < len(answers):
                self._processes = []
            if living:
                return [_result(answer) for answer in living]
        raise NotFoundError(f"no process {self._group!r} runs: the service is not on this node.")

    async def _find(self) -> list[NodeServiceProtocol]:
        names = await self._cluster.list_actors(f"{self._group}:")
        actors = [await self._cluster.find_actor(name) for name in names]
        return [stub(NodeServiceProtocol, actor) for actor in actors if actor is not None]


def _result(answer: bytes | BaseException) -> bytes:
    if isinstance(answer, BaseException):
        raise answer
    return answer
