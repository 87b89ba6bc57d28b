"""Admission of calls to the queue of one deployment in this process."""

from __future__ import annotations

from collections.abc import Callable

from .._wire.caller_connection import CallerStream
from ..errors import BackPressureError, DeadlineExceededError
from ..types import Call, DeploymentId
from .estimator import QueueEstimator
from .waiting_calls import WaitingCalls

__all__ = ["Admission"]

_TIMER_RESOLUTION_S = 0.002
"""Timers fire early by up to the resolution of their clock."""
_RETRY_AFTER_S = 1.0
_MAX_RETRY_AFTER_S = 30.0


class Admission:
    """Bounds a queue by its length, and by the deadlines of its calls.

    Args:
        queue: The waiting calls.
        clock: Monotonic seconds, on the clock of the deadlines.

    Attributes:
        max_queued: Most calls that may wait; negative for no bound.
    """

    def __init__(
        self,
        deployment: DeploymentId,
        queue: WaitingCalls[CallerStream],
        clock: Callable[[], float],
    ) -> None:
        self.max_queued = 1024
        self._deployment = deployment
        self._queue = queue
        self._clock = clock
        self._estimator = QueueEstimator()

    def admit(self, call: Call, *, measured: bool) -> None:
        """Check that a call may join the queue.

        Args:
            measured: Replicas are connected, so the measured speed of the queue applies.

        Raises:
            BackPressureError: The queue is full, or the call's deadline would pass in the
                queue.
        """
        queued = len(self._queue)
        if 0 <= self.max_queued <= queued:
            raise self.back_pressure()
        if call.deadline is None or not measured:
            return
        now = self._clock()
        left_s = call.deadline - now
        if self._estimator.would_miss_deadline(queued, now, left_s):
            error = self.back_pressure()
            error.reason = (
                f"{queued} requests wait; the timeout of this request would expire in "
                f"{max(left_s, 0):.2g} s, before its turn"
            )
            raise error

    def back_pressure(self, retry_after_s: float | None = None) -> BackPressureError:
        """Return the error of a shed call.

        Args:
            retry_after_s: Time to wait before a retry; by default the time that the current queue
                takes.
        """
        queued = len(self._queue)
        if retry_after_s is None:
            expected = self._estimator.expected_wait_s(queued, self._clock())
            retry_after_s = min(max(expected, _RETRY_AFTER_S), _MAX_RETRY_AFTER_S)
        return BackPressureError(str(self._deployment), queued, self.max_queued, retry_after_s)

    def check_deadline(self, call: Call) -> None:
        """Check that a call that has waited can still meet its deadline.

        A call sent too late would waste its replica's work and delay the next call as well: in a
        queue longer than the timeouts of its calls, no call would succeed.

        Raises:
            DeadlineExceededError: Less time is left than a quick call takes.
        """
        if call.deadline is not None and call.deadline - self._clock() <= self._estimator.quick_s:
            self._estimator.late(self._clock(), ran=False)
            raise DeadlineExceededError(str(self._deployment), round(call.timeout_s or 0.0, 3))

    def is_late(self, call: Call) -> bool:
        """Return whether the deadline of a call has passed."""
        return _is_late(call, self._clock())

    def ended(self, call: Call, now: float, took_s: float) -> None:
        """Note that a call has ended while others wait."""
        if _is_late(call, now):
            self._estimator.late(now, ran=True)
        else:
            self._estimator.completed(now, took_s)

    def waiter_cancelled(self, call: Call) -> None:
        """Note that a waiting call was cancelled."""
        now = self._clock()
        if _is_late(call, now):
            self._estimator.late(now, ran=False)

    def emptied(self) -> None:
        """Note that the queue is empty."""
        self._estimator.queue_emptied()

    def forget(self) -> None:
        """Drop the measurements, because the capacity has grown."""
        self._estimator.forget()

    def shed_excess(self, free: int) -> None:
        """Shed the newest calls above the limit, after the limit became known or was lowered.

        Args:
            free: Number of waiting calls for which replicas have free slots, replicas that are
                still connecting included.
        """
        while 0 <= self.max_queued < len(self._queue) - free:
            error = self.back_pressure()
            future = self._queue.pop_newest()
            if not future.done():
                future.set_exception(error)


def _is_late(call: Call, now: float) -> bool:
    return call.deadline is not None and now >= call.deadline - _TIMER_RESOLUTION_S
