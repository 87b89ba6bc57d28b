"""What the connections of a proxy process share: application, limits, a clock, and a sweep."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from itertools import islice
from typing import Any, Protocol

from .ending import has_unread
from .exchange import EdgeApplication
from .head import Head, Peer
from .limits import EdgeLimits
from .responses import ResponseStarts

__all__ = ["LAST_MOMENT_S", "Edge", "Member", "Successor"]

LAST_MOMENT_S = 0.5
"""How long a connection without a request stays open when the proxy takes no new ones."""
_SWEEP_S = 0.5
_MAX_CANDIDATES = 64
"""How many of the idle connections are asked for unread bytes, to make room for one more."""


class Member(Protocol):
    """An open connection of the edge."""

    def wind_down(self, linger_s: float = LAST_MOMENT_S) -> None:
        """End without losing a request."""

    def abort(self) -> None:
        """Drop the connection and what was not sent."""


class Watched(Member, Protocol):
    """A connection that speaks HTTP/1.1, as the sweep sees it."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport

    def check(self, now: float) -> None:
        """Act on deadlines that are missed."""


class Successor(asyncio.Protocol):
    """Takes over a connection whose client has asked for another protocol."""

    def open(self, head: Head, peer: Peer) -> None:
        """Begin, with the request that asked for it. The transport is connected already."""


class Edge:
    """Watches over all connections of a process, instead of a timer for each request.

    Every half second the sweep checks each connection once. Deadlines are met a little early rather
    than late, by one round at most.

    Args:
        application: Answers requests.
        limits: Of each connection.
        upgrade: Makes the protocol that takes over a connection for a WebSocket; None refuses them.

    Attributes:
        now: Seconds by a clock that advances with each round. It stands still while the event
            loop does, so that nobody is blamed for bytes that were not read.
        connections: All that are open, those that were upgraded included.
        tasks: Those that work on exchanges.
        waiting: Connections without a request in progress, the longest first.
        draining: No connection stays beyond its next response.
        starts: Beginnings of responses, with the date.
    """

    def __init__(
        self,
        application: EdgeApplication,
        limits: EdgeLimits,
        upgrade: Callable[[], Successor] | None = None,
    ) -> None:
        self.application = application
        self.limits = limits
        self.upgrade = upgrade
        self.now = 0.0
        self.draining = False
        self.connections: set[Member] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.waiting: dict[Watched, None] = {}
        self.starts = ResponseStarts()
        shortest = min(limits.head_s, limits.body_s, limits.send_s, limits.keep_alive_s)
        self._interval = min(_SWEEP_S, shortest / 4)
        self._watched: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._swept = 0.0

    def add(self, connection: Watched) -> bool:
        """Watch a new connection; for one too many, the one that has waited longest is closed.

        Returns:
            Whether there is room: False if all others have requests in progress.
        """
        self.connections.add(connection)
        self._watched.add(connection)
        if self._timer is None:
            self.starts.renew()
            self._swept = connection.loop.time()
            self._timer = connection.loop.call_later(self._interval, self._sweep, connection.loop)
        if len(self.connections) > self.limits.connections:
            if not self.waiting:
                return False
            self._idlest().abort()
        self.waiting[connection] = None
        return True

    def spawn(
        self, run: Coroutine[Any, Any, None], work: Coroutine[Any, Any, None]
    ) -> asyncio.Task[None]:
        """Return a task that runs `run`, which awaits `work`."""
        task = asyncio.get_running_loop().create_task(run)

        def ended(task: asyncio.Task[None]) -> None:
            self.tasks.discard(task)
            work.close()  # cancelled before it began

        self.tasks.add(task)
        task.add_done_callback(ended)
        return task

    def forget(self, connection: Watched) -> None:
        """Stop watching a connection that is closed, or belongs to another protocol now."""
        self.connections.discard(connection)
        self._watched.discard(connection)
        self.waiting.pop(connection, None)

    def _idlest(self) -> Watched:
        """Return the connection that has waited longest, and of which nothing has arrived since."""
        longest = islice(self.waiting, _MAX_CANDIDATES)
        found = next((each for each in longest if not has_unread(each.transport)), None)
        return found or next(iter(self.waiting))

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        time = loop.time()
        self.now += min(time - self._swept, 2 * self._interval)
        self._swept = time
        self.starts.renew()
        for connection in list(self._watched):
            connection.check(self.now)
        waits = bool(self._watched)
        self._timer = loop.call_later(self._interval, self._sweep, loop) if waits else None
