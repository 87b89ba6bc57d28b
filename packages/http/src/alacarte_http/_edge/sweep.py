"""What the connections of a proxy process share: limits, a clock, and who has waited longest."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING

from .limits import EdgeLimits

if TYPE_CHECKING:
    from .connection import ProxyConnection

__all__ = ["Edge"]

_SWEEP_S = 0.5
_LOOKED_AT = 64
"""Of those that wait, how many are looked at to make room for one more."""


class Edge:
    """Watches over all connections of a process, instead of a timer for each request.

    Every half second it looks at each connection once. Deadlines are met a little early rather
    than late, by one round at most.

    Attributes:
        now: Seconds by a clock that advances with each round. It stands still while the event
            loop does, so that nobody is blamed for bytes that were not read.
        waiting: Connections without a request in progress, the longest first.
        leaving: No connection stays beyond its next response.
    """

    def __init__(self, limits: EdgeLimits) -> None:
        self.limits = limits
        self.now = 0.0
        self.leaving = False
        self.waiting: dict[ProxyConnection, None] = {}
        shortest = min(limits.head_s, limits.body_s, limits.send_s, limits.keep_alive_s)
        self._interval = min(_SWEEP_S, shortest / 4)
        self._open: set[ProxyConnection] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._swept = 0.0
        self._headers: object = None
        self._lines = b""

    def add(self, connection: ProxyConnection) -> bool:
        """Watch a new connection; for one too many, the one that has waited longest is closed.

        Returns:
            Whether there is room: False if all others have requests in progress.
        """
        self._open.add(connection)
        if self._timer is None:
            self._swept = connection.loop.time()
            self._timer = connection.loop.call_later(self._interval, self._sweep, connection.loop)
        if len(connection.connections) > self.limits.connections:
            if not self.waiting:
                return False
            self._idlest().abort()
        self.waiting[connection] = None
        return True

    def forget(self, connection: ProxyConnection) -> None:
        """Stop watching a connection."""
        self._open.discard(connection)
        self.waiting.pop(connection, None)

    def lines(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """Return headers as lines; the server makes a new list of them each second."""
        if headers is not self._headers:
            self._lines = b"".join([b"%b: %b\r\n" % header for header in headers])
            self._headers = headers
        return self._lines

    def _idlest(self) -> ProxyConnection:
        """Return the one that has waited longest, and of which nothing has arrived by now."""
        longest = islice(self.waiting, _LOOKED_AT)
        found = next((each for each in longest if not each.has_unread()), None)
        return found or next(iter(self.waiting))

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        time = loop.time()
        self.now += min(time - self._swept, 2 * self._interval)
        self._swept = time
        for connection in list(self._open):
            connection.check(self.now)
        self._timer = loop.call_later(self._interval, self._sweep, loop) if self._open else None
