"""Which calls of one deployment may wait in this process, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import BackPressureError, DeadlineExceededError
from ..types import Call, DeploymentId
from .estimator import QueueEstimator
from .queue import WaitingCalls

__all__ = ["Admission"]

_LATE_S = 0.002
"""Timers go off a little early, by the resolution of their clock."""
_RETRY_AFTER_S = 1.0
_MAX_RETRY_AFTER_S = 30.0


class Admission:
    """Bounds a queue by its length, and by the time that calls have.

    Args:
        queue: The calls that wait.
        clock: Seconds, never going back; the one that deadlines are on.

    Attributes:
        max_queued: How many calls may wait; negative for no bound.
    """

    def __init__(
        self, deployment: DeploymentId, queue: WaitingCalls[Any], clock: Callable[[], float]
    ) -> None:
        self.max_queued = 1024
        self._deployment = deployment
        self._queue = queue
        self._clock = clock
        self._estimator = QueueEstimator()

    def admit(self, call: Call, *, measured: bool) -> None:
        """Let a call join the queue.

        Args:
            measured: The speed of the queue is a bound: replicas are connected.

        Raises:
            BackPressureError: The queue is full, or the call's deadline would pass before its
                turn.
        """
        queued = len(self._queue)
        if 0 <= self.max_queued <= queued:
            raise self.back_pressure()
        if call.deadline is None or not measured:
            return
        now = self._clock()
        left_s = call.deadline - now
        if self._estimator.in_vain(queued, now, left_s):
            error = self.back_pressure()
            error.reason = (
                f"{queued} requests wait, and the {max(left_s, 0):.2g} s that this one has would "
                "be over before its turn"
            )
            raise error

    def back_pressure(self, retry_after_s: float | None = None) -> BackPressureError:
        """Return the error of a call that is refused.

        Args:
            retry_after_s: When to try again, by default when the queue of now has moved on.
        """
        queued = len(self._queue)
        if retry_after_s is None:
            expected = self._estimator.turn_s(queued, self._clock())
            retry_after_s = min(max(expected, _RETRY_AFTER_S), _MAX_RETRY_AFTER_S)
        return BackPressureError(str(self._deployment), queued, self.max_queued, retry_after_s)

    def check_deadline(self, call: Call) -> None:
        """Let a call that has waited be sent, unless even a quick one would miss its deadline.

        Whoever waited until its time is almost over would be worked on in vain, and so would the
        next: a queue that is longer than its calls' time would let none of them succeed.

        Raises:
            DeadlineExceededError: Too little time is left.
        """
        if call.deadline is not None and call.deadline - self._clock() <= self._estimator.quick_s:
            self._estimator.late(self._clock(), ran=False)
            raise DeadlineExceededError(str(self._deployment), round(call.timeout_s or 0.0, 3))

    def is_late(self, call: Call) -> bool:
        """Whether the deadline of a call has passed."""
        return _is_late(call, self._clock())

    def ended(self, call: Call, now: float, took_s: float) -> None:
        """Note that a call has ended while others wait."""
        if _is_late(call, now):
            self._estimator.late(now, ran=True)
        else:
            self._estimator.completed(now, took_s)

    def given_up(self, call: Call) -> None:
        """Note that the caller of a waiting call waits no more."""
        now = self._clock()
        if _is_late(call, now):
            self._estimator.late(now, ran=False)

    def emptied(self) -> None:
        """Note that no call waits any more."""
        self._estimator.interrupted()

    def forget(self) -> None:
        """Drop what was measured: there is one more replica."""
        self._estimator.forget()

    def shed_excess(self, free: int) -> None:
        """Refuse calls that came before the limit was known here, or before it was lowered.

        Args:
            free: Calls that will leave the queue at once: those that find a slot as soon as the
                replicas just heard of are connected.
        """
        while 0 <= self.max_queued < len(self._queue) - free:
            error = self.back_pressure()
            future = self._queue.last()
            if not future.done():
                future.set_exception(error)


def _is_late(call: Call, now: float) -> bool:
    return call.deadline is not None and now >= call.deadline - _LATE_S
