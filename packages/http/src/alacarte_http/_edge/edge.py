"""State that the client connections of a proxy process share: handler, limits, clock, sweep."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from itertools import islice
from typing import Protocol

from .client_socket import has_unread
from .edge_limits import EdgeLimits
from .exchange import ExchangeHandler
from .head import Head, Peer
from .response_starts import ResponseStarts

__all__ = ["DRAIN_LINGER_S", "Edge", "OpenConnection", "Successor"]

DRAIN_LINGER_S = 0.5
"""How long an idle connection stays open while the proxy drains."""
_MAX_SWEEP_INTERVAL_S = 0.5
_MAX_CANDIDATES = 64
"""Idle connections that are checked for unread bytes before one of them is closed."""


class OpenConnection(Protocol):
    """An open client connection, of HTTP or of a WebSocket."""

    def drain(self, linger_s: float = DRAIN_LINGER_S) -> None:
        """Close the connection without losing a request."""

    def abort(self) -> None:
        """Drop the connection and its unsent bytes."""


class MonitoredConnection(OpenConnection, Protocol):
    """An HTTP/1.1 connection that the sweep checks."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport

    def check_deadlines(self, now: float) -> None:
        """Act on missed deadlines.

        Args:
            now: `Edge.now`.
        """


class Successor(asyncio.Protocol):
    """The protocol of a connection after an upgrade."""

    def open(self, head: Head, peer: Peer) -> None:
        """Start with the request that asked for the upgrade; the transport is connected already."""


class Edge:
    """The client connections of a proxy process, and the sweep that enforces their deadlines.

    The sweep checks each connection every half second, so that no request needs a timer of its own.
    Deadlines are enforced up to one sweep early, rather than late.

    Args:
        handler: Answers exchanges.
        limits: Limits of each connection.
        upgrade: Makes the protocol of an upgraded connection; None refuses WebSockets.

    Attributes:
        now: Seconds of a clock that advances with each sweep. It stops while the event loop is
            blocked, so that no client misses a deadline over bytes that the server did not read.
        connections: All open connections, upgraded ones included.
        tasks: Tasks that work on exchanges.
        idle: Connections without a request in progress, the longest idle first.
        draining: Each connection closes after its next response.
        starts: Status line and date of responses.
    """

    def __init__(
        self,
        handler: ExchangeHandler,
        limits: EdgeLimits,
        upgrade: Callable[[], Successor] | None = None,
    ) -> None:
        self.handler = handler
        self.limits = limits
        self.upgrade = upgrade
        self.now = 0.0
        self.draining = False
        self.connections: set[OpenConnection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.idle: dict[MonitoredConnection, None] = {}
        self.starts = ResponseStarts()
        shortest = min(limits.head_s, limits.body_s, limits.send_s, limits.keep_alive_s)
        self._interval = min(_MAX_SWEEP_INTERVAL_S, shortest / 4)
        self._monitored: set[MonitoredConnection] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._last_sweep = 0.0

    def add(self, connection: MonitoredConnection) -> bool:
        """Add a new connection; above the limit, close the longest idle connection for it.

        Returns:
            False if the limit is reached and no connection is idle.
        """
        self.connections.add(connection)
        self._monitored.add(connection)
        if self._timer is None:
            self.starts.renew()
            self._last_sweep = connection.loop.time()
            self._timer = connection.loop.call_later(self._interval, self._sweep, connection.loop)
        if len(self.connections) > self.limits.connections:
            if not self.idle:
                return False
            self._longest_idle().abort()
        self.idle[connection] = None
        return True

    def spawn(
        self, run: Coroutine[object, None, None], work: Coroutine[object, None, None]
    ) -> asyncio.Task[None]:
        """Run `run`, which awaits `work`, in a task that `tasks` holds."""
        task = asyncio.get_running_loop().create_task(run)

        def on_done(task: asyncio.Task[None]) -> None:
            self.tasks.discard(task)
            work.close()  # never awaited if the task was cancelled before its first step

        self.tasks.add(task)
        task.add_done_callback(on_done)
        return task

    def remove(self, connection: MonitoredConnection) -> None:
        """Remove a connection that is closed or was upgraded."""
        self.connections.discard(connection)
        self._monitored.discard(connection)
        self.idle.pop(connection, None)

    def _longest_idle(self) -> MonitoredConnection:
        """Return the longest idle connection, if possible one without unread bytes."""
        longest = islice(self.idle, _MAX_CANDIDATES)
        found = next((each for each in longest if not has_unread(each.transport)), None)
        return found or next(iter(self.idle))

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        time = loop.time()
        self.now += min(time - self._last_sweep, 2 * self._interval)
        self._last_sweep = time
        self.starts.renew()
        for connection in list(self._monitored):
            connection.check_deadlines(self.now)
        waits = bool(self._monitored)
        self._timer = loop.call_later(self._interval, self._sweep, loop) if waits else None
