"""A broadcast: one call to every running replica of a deployment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .._wire.caller_connection import CallerStream, ConnectionLost, Rejected
from ..errors import ReplicaUnavailableError
from ..types import Call, DeploymentId, Reply, RouterObserver
from .replica_pool import Link, ReplicaPool
from .sweep import Sweep

__all__ = ["Broadcast"]


class Broadcast:
    """Sends a call to every running replica of one deployment.

    A broadcast bypasses limit and queue, since busy replicas must get the call, too. A replica that
    is connecting gets the call when it is connected.

    Args:
        deployment: The deployment that is called.
        replicas: The replicas of the deployment.
        sweep: The sweep of this process.
        on_freed: Called when a waiting call may find a slot.
        observer: The observer of plugins; None without one.
    """

    def __init__(
        self,
        deployment: DeploymentId,
        replicas: ReplicaPool,
        sweep: Sweep,
        *,
        on_freed: Callable[[], None],
        observer: RouterObserver | None = None,
    ) -> None:
        self._deployment = deployment
        self._replicas = replicas
        self._sweep = sweep
        self._on_freed = on_freed
        self._observer = observer

    async def send(self, call: Call) -> list[Reply | BaseException]:
        """Send a call; return the reply or the error of each replica that has accepted it."""
        links = [link for link in self._replicas.links.values() if not link.leaving]
        if self._observer is not None:
            self._observer.broadcast(call, tuple(links))
        sent = (self._send_to(link, call) for link in links)
        answers = await asyncio.gather(*sent, return_exceptions=True)
        # A replica that drains rejects the call, and does not need it.
        return [answer for answer in answers if not isinstance(answer, Rejected)]

    async def _send_to(self, link: Link, call: Call) -> Reply:
        while link.connection is None:
            if link.removed or link.connecting is None:
                raise Rejected
            # Not the task itself, which goes on when this call is cancelled.
            await asyncio.wait([link.connecting])

        def done(_: CallerStream) -> None:
            self._done(link)

        try:
            stream = link.connection.open(call, done)
        except ConnectionLost:
            raise Rejected from None
        link.in_flight += 1
        self._sweep.wake()
        try:
            return await stream.reply
        except ConnectionLost as lost:
            raise ReplicaUnavailableError(
                str(self._deployment), link.replica_id, str(lost)
            ) from None
        except asyncio.CancelledError:
            stream.cancel()
            raise

    def _done(self, link: Link) -> None:
        """Handle the end of the call at one replica."""
        link.in_flight -= 1
        if not link.in_flight and (link.removed or link.leaving):
            self._replicas.hang_up(link)
        self._on_freed()
