"""The router: sends each call of one deployment to one of its replicas.

A process has one router for each deployment it calls, on the runtime's event loop. The replicas
come from the controller's snapshots (`replica_pool`), and the router counts the calls in flight at
each. There is no polling and no backoff: when every replica is full, calls wait in order, and a
completion, a LOAD frame or a new replica sends the oldest.

A rejected call has not started, and is sent to another replica. A call whose connection broke may
have started, and fails, unless the call is idempotent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from .._wire.caller_connection import CallerStream, ConnectionLost, Rejected
from ..actors import DeploymentSnapshot, SnapshotDelta
from ..errors import (
    DeploymentUnavailableError,
    ErrorCode,
    ReplicaUnavailableError,
)
from ..types import (
    Call,
    CallerLoad,
    DeploymentId,
    LoadWatch,
    OutcomeKind,
    ReplicaLoad,
    Reply,
    RouterObserver,
    Service,
    Shed,
    Wait,
)
from .admission import Admission
from .broadcast import Broadcast
from .chooser import Chooser
from .policy_listener import FailureCode, ObservedCalls, PolicyListener
from .replica_pool import PING_ROUNDS, Connect, Link, ReplicaPool
from .retries import MAX_REPEATS, RetryBudget
from .sweep import Sweep
from .waiting_calls import WaitingCalls

__all__ = ["Connect", "Router"]

_SMOOTHING = 0.2
WatchLoad = Callable[[CallerLoad, DeploymentSnapshot], LoadWatch | None]


class Router:
    """Routes the calls of one deployment. `call` is a service.

    Args:
        deployment: The deployment that is called.
        policies: Creates the policy that a snapshot names. Raises nothing.
        connect: Opens a connection to a replica.
        node_id: The node whose replicas are local, for policies that prefer them; "" for none.
        sweep: The sweep of this process; by default the router's own.
        watch_load: Creates the load watch of an autoscaled deployment.
        on_suspect: Reports an unresponsive replica, by id and reason.
        observer: The observer of plugins, which raises nothing; None without one.
        failure_code: Returns the error code that a reply stands for, for policy and observer.
        clock: Monotonic seconds, on the clock of the deadlines.

    Attributes:
        service: `call`, wrapped for the observer if there is one.
    """

    def __init__(
        self,
        deployment: DeploymentId,
        policies: Callable[[DeploymentSnapshot], Chooser],
        connect: Connect,
        node_id: str,
        *,
        sweep: Sweep | None = None,
        watch_load: WatchLoad | None = None,
        on_suspect: Callable[[str, str], None] | None = None,
        observer: RouterObserver | None = None,
        failure_code: FailureCode | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.deployment = deployment
        self._policies = policies
        self._policy_key: tuple[str, Mapping[str, object], Mapping[str, object]] | None = None
        self._policy: Chooser | None = None
        self._listener: PolicyListener | None = None
        self.is_deleted = False
        self._unavailable = ""
        self._on_reactivated: Callable[[Router], None] | None = None
        self._queue: WaitingCalls[CallerStream] = WaitingCalls()
        self._waiting = self._queue.entries  # tested for truth without a call of Python code
        self._streams: dict[CallerStream, tuple[Call, Link, PolicyListener | None, float]] = {}
        self._loop = asyncio.get_running_loop()
        self._known = asyncio.Event()
        self._version = -1
        self._clock = clock or time.monotonic
        self._observer = observer
        self._failure_code = failure_code or _no_failure
        self._calls = None if observer is None else ObservedCalls(observer, self._clock)
        self.service: Service = self.call if self._calls is None else self._calls.around(self.call)
        self._sweep = sweep or Sweep(self._loop)
        self._admission = Admission(deployment, self._queue, self._clock)
        self._replicas = ReplicaPool(
            deployment,
            connect,
            node_id,
            self._clock,
            self._sweep,
            on_freed=self._dispatch,
            on_grown=self._admission.forget,
            on_unresponsive=self._retry_elsewhere,
            on_left=self._on_left,
            on_suspect=on_suspect or _ignore_suspect,
            observer=observer,
        )
        self._ready = self._replicas.ready
        self._broadcast = Broadcast(
            deployment,
            self._replicas,
            self._sweep,
            on_freed=self._dispatch,
            observer=observer,
        )
        self._budget = RetryBudget(self._clock)
        self._watch_load = watch_load
        self._load_watch: LoadWatch | None = None
        self._on_load_changed: Callable[[], None] | None = None

    @property
    def queued(self) -> int:
        return len(self._waiting)

    @property
    def in_flight(self) -> int:
        return len(self._streams)

    @property
    def replicas(self) -> Sequence[ReplicaLoad]:
        """The replicas that accept calls now."""
        return self._ready

    # --- calls --------------------------------------------------------------------------

    async def call(self, call: Call) -> Reply:
        """Send a call to a replica and return its reply.

        Raises:
            BackPressureError: The queue is full, the policy shed the call, or the call's deadline
                would pass in the queue.
            DeadlineExceededError: The call's deadline passed in the queue.
            DeploymentUnavailableError: The deployment will get no replica.
            ReplicaUnavailableError: The replica was lost, and the call may have started.
        """
        again = False
        repeats = 0
        if call.idempotent:
            self._budget.deposit()
        while True:
            stream = self._send(call) if again or not self._waiting else None
            if stream is None:
                stream = await self._wait(call, front=again)
            elif self._on_load_changed is not None:
                self._on_load_changed()
            try:
                return await stream.reply
            except Rejected:
                again = True
            except ConnectionLost as lost:
                if not self._may_repeat(call, stream, repeats):
                    raise ReplicaUnavailableError(
                        str(self.deployment), stream.replica_id, str(lost), repeats + 1
                    ) from None
                if self._calls is not None:
                    self._calls.retried(call)
                repeats += 1
                again = True
            except asyncio.CancelledError:
                stream.cancel()
                raise

    def _may_repeat(self, call: Call, stream: CallerStream, repeats: int) -> bool:
        """Return whether a call whose replica was lost is sent again."""
        return (
            call.idempotent
            and repeats < MAX_REPEATS
            and stream.is_repeatable
            and self._budget.take()
        )

    async def broadcast(self, call: Call) -> list[Reply | BaseException]:
        """Send a call to every running replica; return the reply or the error of each.

        Raises:
            DeploymentUnavailableError: No replica runs.
        """
        self._reactivate()
        await self._known.wait()
        answers = await self._broadcast.send(call)
        if not answers:
            reason = self._unavailable or "none of its replicas runs"
            raise DeploymentUnavailableError(str(self.deployment), reason)
        return answers

    def _send(self, call: Call) -> CallerStream | None:
        """Send a call if the policy chooses a replica now; return the stream, or None to wait."""
        while self._ready:
            policy = self._policy
            assert policy is not None
            try:
                choice = policy.choose(call, self._ready)
            except BaseException as error:  # foreign code, which must not end the event loop
                raise policy.choose_error(error) from error
            if not isinstance(choice, Link):
                if isinstance(choice, Wait):
                    return None
                if isinstance(choice, Shed):
                    raise self._admission.back_pressure(choice.retry_after_s)
                raise policy.invalid_choice_error(choice)
            link = choice
            if link.connection is None:
                raise policy.invalid_choice_error(choice)
            try:
                stream = link.connection.open(call, self._done)
            except ConnectionLost:
                self._replicas.broken(link)
                continue
            stream.replica_id = link.replica_id
            link.in_flight += 1
            listener = self._listener
            self._streams[stream] = (call, link, listener, self._clock())
            if not self._sweep.awake:
                self._sweep.wake()
            if listener is not None:
                listener.sent(call, link, stream)
            return stream
        return None

    async def _wait(self, call: Call, *, front: bool) -> CallerStream:
        self._reactivate()
        if self._unavailable:
            raise DeploymentUnavailableError(str(self.deployment), self._unavailable)
        if not front:
            self._admission.admit(call, measured=bool(self._ready))
        future: asyncio.Future[CallerStream] = self._loop.create_future()
        self._queue.add(call, future, front=front)
        if self._observer is not None:
            self._observer.queued(call)
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                future.result().cancel()
            else:
                self._admission.waiter_cancelled(call)
            raise
        finally:
            self._queue.remove(future)
            if not self._waiting:
                self._admission.emptied()

    def _dispatch(self) -> None:
        """Send as many of the waiting calls as the replicas accept."""
        while self._ready and (entry := self._queue.peek_oldest()) is not None:
            call, future = entry
            if not future.done():
                try:
                    self._admission.check_deadline(call)
                    stream = self._send(call)
                except Exception as error:  # from the policy, or about the call
                    future.set_exception(error)
                else:
                    if stream is None:
                        return
                    future.set_result(stream)
            self._queue.remove(future)

    def _done(self, stream: CallerStream) -> None:
        """Handle the end of a call, which frees its slot."""
        # The listener is that of the policy which chose; the policy may have changed since.
        call, link, listener, started = self._streams.pop(stream)
        kind: OutcomeKind = "success"
        link.in_flight -= 1
        connection = link.connection
        if connection is None or connection.transport is None:
            link.lost_work = True
            kind = "lost"
        elif stream.rejected:
            link.reported = connection.replica_load
            link.blocked = True
            kind = "rejected"
        elif link.unanswered_rounds > PING_ROUNDS and not connection.has_received:
            # The caller has cancelled, and no byte has come from the replica since the PING.
            if self._admission.is_late(call):
                self._replicas.unanswered(link)
            kind = "unanswered"
        else:
            link.reported = connection.replica_load
            link.blocked = False
            elapsed = self._clock() - started
            link.latency_s += _SMOOTHING * (elapsed - link.latency_s)
            if link.record is not None:
                link.record.succeeded()
            if self._waiting:
                self._admission.ended(call, started + elapsed, elapsed)
        if listener is not None:
            listener.ended(call, link, stream, kind, started)
        if self._on_load_changed is not None:
            self._on_load_changed()
        if not link.in_flight and (link.removed or link.leaving):
            self._replicas.hang_up(link)
        if self._waiting:
            self._dispatch()

    def _retry_elsewhere(self, link: Link) -> None:
        """Retry the idempotent calls at an unresponsive replica; its other calls go on waiting."""
        left = self._budget.available
        for stream, (call, at, _, _) in list(self._streams.items()):
            if left and at is link and call.idempotent and stream.is_repeatable:
                left -= 1
                stream.abandon(ConnectionLost("it has stopped answering"))

    # --- the controller's snapshots -----------------------------------------------------

    def update(self, news: DeploymentSnapshot | SnapshotDelta) -> None:
        """Apply a newer snapshot, or the difference to the last one.

        Raises:
            ValueError: The difference is to another version than the current one.
        """
        if isinstance(news, SnapshotDelta):
            if news.since != self._version:
                raise ValueError(
                    f"{self.deployment}: a delta to version {news.since} cannot be applied to "
                    f"version {self._version}"
                )
            snapshot, changed = news.snapshot, news.changed
            removed: Sequence[str] = news.removed
        else:
            snapshot, changed = news, news.replicas
            removed = [*self._replicas.links.keys() - {entry.replica_id for entry in changed}]
        self._version = snapshot.version
        self._admission.max_queued = snapshot.max_queued
        self._take_policy(snapshot)
        if snapshot.follow_load != (self._load_watch is not None):
            self._follow_load(snapshot)
        self._replicas.change(changed, removed)
        self.is_deleted = snapshot.state == "absent"
        self._unavailable = "" if snapshot.state == "up" else (snapshot.reason or snapshot.state)
        if self._unavailable and not self._replicas.links:
            self._queue.fail_all(
                DeploymentUnavailableError(str(self.deployment), self._unavailable)
            )
        self._known.set()
        self._dispatch()
        if not self._unavailable:
            self._admission.shed_excess(self._replicas.free_slots)

    def _take_policy(self, snapshot: DeploymentSnapshot) -> None:
        """Create the policy of a snapshot if its name, parameters or options have changed."""
        key = (snapshot.policy, snapshot.policy_parameters, snapshot.options)
        if key == self._policy_key:
            return
        self._policy_key = key
        policy = self._policy = self._policies(snapshot)
        self._listener = None
        if policy.observes_calls or self._calls is not None:
            self._listener = PolicyListener(policy, self._calls, self._clock, self._failure_code)

    def _on_left(self, link: Link) -> None:
        """Report that a replica has left, after its last call."""
        if self._policy is not None and self._policy.left is not None:
            self._policy.left(link)
        if self._observer is not None:
            self._observer.left(link)

    def _follow_load(self, snapshot: DeploymentSnapshot | None) -> None:
        """Start, restart or stop the load watch, as a snapshot says; None stops."""
        if self._load_watch is not None:
            self._load_watch.close()
            self._load_watch = None
        if snapshot is not None and snapshot.follow_load and self._watch_load is not None:
            self._load_watch = self._watch_load(self, snapshot)
        watch = self._load_watch
        self._on_load_changed = self._queue.on_changed = None if watch is None else watch.changed

    # --- end of life --------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Whether no call waits or is in flight, and no replica is known."""
        return not (self._waiting or self._streams or self._replicas.is_busy)

    def retire(self, on_reactivated: Callable[[Router], None]) -> None:
        """Stop following the deployment; the router must be idle.

        Args:
            on_reactivated: Called when the next call arrives, which then waits for a snapshot.
        """
        self._follow_load(None)
        self._replicas.close()
        self._version = -1
        self._known.clear()
        self.is_deleted, self._unavailable = False, ""
        self._on_reactivated = on_reactivated

    def reopen(self) -> None:
        """Follow the deployment again."""
        self._on_reactivated = None
        self._replicas.reopen()

    def _reactivate(self) -> None:
        if (on_reactivated := self._on_reactivated) is not None:
            self.reopen()
            on_reactivated(self)

    async def close(self, reason: str = "this process is shutting down") -> None:
        """Close all connections; fail waiting calls, calls in flight and later calls."""
        self._unavailable = reason
        self._on_reactivated = None
        self._known.set()
        self._queue.fail_all(DeploymentUnavailableError(str(self.deployment), reason))
        self._follow_load(None)
        self._replicas.close()


def _ignore_suspect(replica_id: str, reason: str) -> None:
    """Ignore an unresponsive replica, since there is no controller."""


def _no_failure(call: Call, reply: Reply) -> ErrorCode | None:
    """Return None: every reply is a success."""
    return None
