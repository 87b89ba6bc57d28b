"""Which deadlines a client's connection has missed. Pure: every time is given.

Times are seconds by the clock of `Edge`, which stands still while the event loop does.
"""

from __future__ import annotations

from .checks import Refused
from .limits import EdgeLimits

__all__ = ["Deadlines"]

_MIN_RATE = 1024
"""Bytes a second of a request's body, over any `receive_body_timeout_s`."""


class Deadlines:
    """The times of one connection that deadlines are counted from.

    Attributes:
        since: The connection has been in its present state since then: silent, or receiving a
            head; for a body, the arrival of its last part.
        moved: The client has read some of what was written, since the last `is_stuck`.
    """

    __slots__ = (
        "_limits",
        "_stuck_since",
        "_unsent",
        "_window_size",
        "_window_start",
        "moved",
        "since",
    )

    def __init__(self, limits: EdgeLimits, now: float) -> None:
        self._limits = limits
        self.since = now
        self.moved = False
        self._window_start = now
        self._window_size = 0
        self._unsent = 0
        self._stuck_since = now

    def begin_body(self, now: float) -> None:
        """A body is due from now on."""
        self.hold_body(now, 0)

    def hold_body(self, now: float, size: int) -> None:
        """Time in which the client is not allowed to send its body is not the client's.

        Args:
            size: Bytes of the body that have arrived.
        """
        self.since = self._window_start = now
        self._window_size = size

    def body_refusal(self, now: float, size: int, *, held: bool = False) -> Refused | None:
        """Return the answer to a body that has stopped or comes too slowly, None in time.

        Args:
            size: Bytes of the body that have arrived.
            held: It is we who keep the client waiting.
        """
        if held:
            self.hold_body(now, size)
            return None
        limit = self._limits.body_s
        if now - self.since >= limit:
            return Refused(408, f"Nothing of the request's body came for {limit:g} s.")
        if now - self._window_start < limit:
            return None
        came, self._window_start, self._window_size = size - self._window_size, now, size
        if came < _MIN_RATE * limit:
            return Refused(408, f"The request's body came slower than {_MIN_RATE} bytes a second.")
        return None

    def head_refusal(self, now: float) -> Refused | None:
        """Return the answer to a head that has not come to its end, None in time."""
        limit = self._limits.head_s
        if now - self.since < limit:
            return None
        return Refused(408, f"The request's head took longer than {limit:g} s.")

    def is_idle(self, now: float, *, used: bool) -> bool:
        """Return whether a connection without a request has been silent for too long.

        Args:
            used: It has had a request before.
        """
        return now - self.since >= (self._limits.keep_alive_s if used else self._limits.head_s)

    def is_stuck(self, now: float, unsent: int) -> bool:
        """Return whether a client has read nothing for too long. Called every round.

        Args:
            unsent: Bytes that wait to be written.
        """
        if not unsent or not self._unsent or unsent < self._unsent or self.moved:
            self._stuck_since = now
            self.moved = False
        self._unsent = unsent
        return now - self._stuck_since >= self._limits.send_s
