"""Reports about the calls of one router, to its policy and to plugins' observers.

A router has a listener only if its policy or a plugin observes calls; other calls cost nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .._wire.caller_connection import CallerStream, ConnectionLost
from ..errors import ErrorCode, request_code
from ..types import Call, Outcome, OutcomeKind, ReplicaLoad, Reply, RouterObserver, Service
from .chooser import Chooser

__all__ = ["FailureCode", "PolicyListener", "ObservedCalls"]

FailureCode = Callable[[Call, Reply], ErrorCode | None]
"""Returns the code of the error that a reply stands for, None for a success."""


class ObservedCalls:
    """Observes whole calls: from their arrival at the router to their end, retries included.

    Args:
        observer: The observer of one plugin, or of several together; raises nothing.
        clock: The router's clock.
    """

    def __init__(self, observer: RouterObserver, clock: Callable[[], float]) -> None:
        self.observer = observer
        self._clock = clock
        self._open: dict[int, _OpenCall] = {}

    def around(self, service: Service) -> Service:
        """Return the service with its calls observed."""

        async def serve(call: Call) -> Reply:
            key = id(call)
            entry = self._open[key] = _OpenCall(self._clock())
            self.observer.began(call)
            try:
                return await service(call)  # the end of the call is reported by its stream
            except BaseException as error:
                if self._open.get(key) is entry:
                    self._end(call, None, self._failed(call, error))
                raise

        return serve

    def sent(self, call: Call, replica: ReplicaLoad) -> None:
        """Report that a call was sent to a replica."""
        if (entry := self._open.get(id(call))) is not None:
            entry.replica = replica
        self.observer.sent(call, replica)

    def replied(self, call: Call, replica: ReplicaLoad) -> None:
        """Report that a streaming reply has begun."""
        if (entry := self._open.get(id(call))) is not None:
            entry.first_part = self._clock()
        self.observer.first_part(call, replica)

    def retried(self, call: Call) -> None:
        """Report that a call is sent again, because its replica was lost."""
        entry = self._open.get(id(call))
        if entry is not None and entry.replica is not None:
            self.observer.retried(call, entry.replica)

    def answered(self, call: Call, outcome: Outcome) -> None:
        """Report the end of a call whose reply had begun."""
        self._end(call, outcome, outcome)

    def _end(self, call: Call, at_replica: Outcome | None, outcome: Outcome) -> None:
        entry = self._open.pop(id(call), None)
        if entry is None:
            return
        total = self._clock() - entry.began
        first = None if entry.first_part is None else entry.first_part - entry.began
        if first is None and at_replica is not None:
            first = total  # the reply came in one piece
        whole = Outcome(outcome.kind, outcome.code, outcome.error_type, first, total)
        self.observer.ended(call, entry.replica, whole)

    def _failed(self, call: Call, error: BaseException) -> Outcome:
        if isinstance(error, asyncio.CancelledError):
            # The deadline layer outside cancels a call whose deadline has passed.
            if call.deadline is not None and self._clock() >= call.deadline:
                return Outcome("error", ErrorCode.DEADLINE_EXCEEDED, "DeadlineExceededError")
            return Outcome("cancelled", ErrorCode.CANCELLED, "CancelledError")
        return Outcome("error", request_code(error), type(error).__name__)


class _OpenCall:
    """A call that has begun and not ended."""

    __slots__ = ("began", "first_part", "replica")

    def __init__(self, began: float) -> None:
        self.began = began
        self.first_part: float | None = None
        self.replica: ReplicaLoad | None = None


class PolicyListener:
    """Reports each call that was sent, and its outcome.

    Args:
        chooser: The policy of the router.
        calls: Observes calls for plugins; None without an observer.
        clock: The router's clock.
        failure_code: Returns the error code that a reply stands for.
    """

    def __init__(
        self,
        chooser: Chooser,
        calls: ObservedCalls | None,
        clock: Callable[[], float],
        failure_code: FailureCode,
    ) -> None:
        self._chooser = chooser
        self._calls = calls
        self._clock = clock
        self._failure_code = failure_code
        self._first_parts: dict[CallerStream, float] = {}

    def sent(self, call: Call, replica: ReplicaLoad, stream: CallerStream) -> None:
        """Report that a call was sent to a replica."""
        if call.streaming:

            def replied() -> None:
                self._first_parts[stream] = self._clock()
                if self._calls is not None:
                    self._calls.replied(call, replica)

            stream.on_reply = replied
        if self._chooser.started is not None:
            self._chooser.started(call, replica)
        if self._calls is not None:
            self._calls.sent(call, replica)

    def ended(
        self,
        call: Call,
        replica: ReplicaLoad,
        stream: CallerStream,
        kind: OutcomeKind,
        began: float,
    ) -> None:
        """Report the end of a call at a replica.

        Args:
            kind: `success` if the replica answers; the stream then has the details.
            began: When the call was sent.
        """
        now = self._clock()
        first = self._first_parts.pop(stream, None)
        outcome = self._outcome(call, stream, kind, first, began, now)
        if self._chooser.finished is not None:
            self._chooser.finished(call, replica, outcome)
        if self._calls is not None:
            if kind == "rejected":
                self._calls.observer.rejected(call, replica)
            elif stream.has_reply:
                self._calls.answered(call, outcome)

    def _outcome(
        self,
        call: Call,
        stream: CallerStream,
        kind: OutcomeKind,
        first: float | None,
        began: float,
        now: float,
    ) -> Outcome:
        total_s = now - began
        first_s = None if first is None else first - began
        error = stream.error
        if kind in ("lost", "unanswered"):
            return Outcome(kind, ErrorCode.UNAVAILABLE, "", first_s, total_s)
        if kind == "rejected":
            return Outcome(kind, ErrorCode.RESOURCE_EXHAUSTED, "", first_s, total_s)
        if isinstance(error, ConnectionLost):  # abandoned at an unresponsive replica
            return Outcome("unanswered", ErrorCode.UNAVAILABLE, "", first_s, total_s)
        if isinstance(error, asyncio.CancelledError):
            return Outcome("cancelled", ErrorCode.CANCELLED, "", first_s, total_s)
        if error is not None:
            return Outcome("error", request_code(error), type(error).__name__, first_s, total_s)
        code = self._failure_code(call, stream.reply.result())
        first_s = total_s if first_s is None else first_s
        return Outcome("success" if code is None else "error", code, "", first_s, total_s)
