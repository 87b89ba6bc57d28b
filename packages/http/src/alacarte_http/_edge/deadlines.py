"""Deadlines of a client's connection. Pure: the caller passes the time.

Times are seconds of `Edge.now`, a clock that stops while the event loop is blocked.
"""

from __future__ import annotations

from .edge_limits import EdgeLimits
from .head_checks import Refusal

__all__ = ["Deadlines"]

_MIN_RATE = 1024
"""Bytes per second of a request's body, averaged over each `receive_body_timeout_s`."""


class Deadlines:
    """The deadlines of one connection.

    Attributes:
        since: Time at which the connection became idle, began to receive a head, or received the
            last part of a body.
        has_progressed: The client has read bytes of a response since the last call of `is_stuck`.
    """

    __slots__ = (
        "_limits",
        "_stuck_since",
        "_unsent",
        "_window_size",
        "_window_start",
        "has_progressed",
        "since",
    )

    def __init__(self, limits: EdgeLimits, now: float) -> None:
        self._limits = limits
        self.since = now
        self.has_progressed = False
        self._window_start = now
        self._window_size = 0
        self._unsent = 0
        self._stuck_since = now

    def begin_body(self, now: float) -> None:
        """Start the deadlines of a request's body."""
        self.reset_body_timer(now, 0)

    def reset_body_timer(self, now: float, size: int) -> None:
        """Restart the deadlines of a body: the client was not allowed to send until now.

        Args:
            size: Bytes of the body that have arrived.
        """
        self.since = self._window_start = now
        self._window_size = size

    def body_refusal(self, now: float, size: int, *, paused: bool = False) -> Refusal | None:
        """Return the refusal of a body that has stopped or is too slow, None while in time.

        Args:
            size: Bytes of the body that have arrived.
            paused: The server does not read, so the client cannot send.
        """
        if paused:
            self.reset_body_timer(now, size)
            return None
        limit = self._limits.body_s
        if now - self.since >= limit:
            return Refusal(408, f"No byte of the request's body arrived for {limit:g} s.")
        if now - self._window_start < limit:
            return None
        came, self._window_start, self._window_size = size - self._window_size, now, size
        if came < _MIN_RATE * limit:
            return Refusal(
                408, f"The request's body arrived at less than {_MIN_RATE} bytes per second."
            )
        return None

    def head_refusal(self, now: float) -> Refusal | None:
        """Return the refusal of a head that has not ended, None while in time."""
        limit = self._limits.head_s
        if now - self.since < limit:
            return None
        return Refusal(408, f"The request's head did not arrive within {limit:g} s.")

    def is_idle(self, now: float, *, used: bool) -> bool:
        """Return whether a connection has been idle for too long.

        Args:
            used: The connection has had a request before.
        """
        return now - self.since >= (self._limits.keep_alive_s if used else self._limits.head_s)

    def is_stuck(self, now: float, unsent: int) -> bool:
        """Return whether a client has read no byte for too long. Called once per sweep.

        Args:
            unsent: Bytes in the transport's write buffer.
        """
        if not unsent or not self._unsent or unsent < self._unsent or self.has_progressed:
            self._stuck_since = now
            self.has_progressed = False
        self._unsent = unsent
        return now - self._stuck_since >= self._limits.send_s
