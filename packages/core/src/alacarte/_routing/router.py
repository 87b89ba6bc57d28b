"""The router: sends each call of one deployment to one of its replicas.

One for each deployment and process, on the runtime's event loop. It knows the replicas from the
controller's snapshots, connects to each as soon as it hears of it, and keeps the number of calls
in flight at each. Nothing is polled and nothing backs off: when every replica is full, calls
wait in order, and a completion, a LOAD frame or a new replica sends the oldest.

What was refused was not started, and goes elsewhere. What was sent to a replica that then broke
off may have started, and fails.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from .._model.snapshots import DeploymentSnapshot, ReplicaEntry
from .._wire.authentication import AuthenticationError
from .._wire.caller import CallerConnection, CallStream, ConnectionLost, Rejected
from ..errors import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError
from ..types import Address, Call, DeploymentId, ReplicaLoad, Reply, RoutingPolicy, Shed, Wait
from .queue import WaitingCalls

__all__ = ["Connect", "Router"]

log = logging.getLogger("alacarte.router")

Connect = Callable[[str, Address], Awaitable[CallerConnection]]
"""Connects to the replica of that id at that address."""

_RECONNECT_S = (0.02, 0.1, 0.5, 1.0)
_SMOOTHING = 0.2


class Link(ReplicaLoad):
    """A replica with the connection to it."""

    __slots__ = ("address", "connecting", "connection", "gone", "leaving")

    def __init__(self, entry: ReplicaEntry, *, local: bool) -> None:
        super().__init__(
            entry.replica_id, max_ongoing=entry.max_ongoing, node_id=entry.node_id, local=local
        )
        self.address = entry.address
        self.connection: CallerConnection | None = None
        self.connecting: asyncio.Task[None] | None = None
        self.gone = False
        self.leaving = False


class Router:
    """Routes the calls of one deployment. `call` is a service.

    Args:
        deployment: Where the calls go.
        policies: Makes the policy of a given name.
        connect: Opens a connection to a replica.
        node_id: This process's node, for policies that prefer near replicas.
    """

    def __init__(
        self,
        deployment: DeploymentId,
        policies: Callable[[str], RoutingPolicy],
        connect: Connect,
        node_id: str,
    ) -> None:
        self.deployment = deployment
        self._policies = policies
        self._connect = connect
        self._node_id = node_id
        self._policy_name = ""
        self._policy: RoutingPolicy | None = None
        self._max_queued = 1024
        self._unavailable = ""
        self._links: dict[str, Link] = {}
        self._ready: list[Link] = []
        self._queue: WaitingCalls[CallStream] = WaitingCalls()
        self._streams: dict[CallStream, tuple[Call, Link, RoutingPolicy, float]] = {}
        self._retired: set[Link] = set()
        self._loop = asyncio.get_running_loop()
        self._known = asyncio.Event()

    @property
    def queued(self) -> int:
        return len(self._queue)

    @property
    def in_flight(self) -> int:
        return len(self._streams)

    @property
    def replicas(self) -> Sequence[ReplicaLoad]:
        """The replicas that calls may go to now."""
        return self._ready

    # --- calls --------------------------------------------------------------------------

    async def call(self, call: Call) -> Reply:
        """Send a call to a replica and return its reply.

        Raises:
            BackPressureError: The queue is full, or the policy shed the call.
            DeploymentUnavailableError: No replica will come.
            ReplicaUnavailableError: The replica broke off, and the call may have started.
        """
        refused = False
        while True:
            stream = self._send(call) if refused or not self._queue else None
            if stream is None:
                stream = await self._wait(call, front=refused)
            try:
                return await stream.reply
            except Rejected:
                refused = True
            except ConnectionLost as lost:
                raise ReplicaUnavailableError(
                    str(self.deployment), stream.replica_id, str(lost)
                ) from None
            except asyncio.CancelledError:
                stream.cancel()
                raise

    async def broadcast(self, call: Call) -> list[Reply | BaseException]:
        """Send a call to every replica that runs, and return what each answered or raised.

        Beyond the limit and past the queue: what all must hear, the busy ones must hear, too.
        A replica that was just heard of is told as soon as it is connected.

        Raises:
            DeploymentUnavailableError: No replica runs.
        """
        await self._known.wait()
        links = [link for link in self._links.values() if not link.leaving]
        sent = (self._call_one(link, call) for link in links)
        answers = await asyncio.gather(*sent, return_exceptions=True)
        # Who was on its way out did not take the call, and need not hear of anything any more.
        heard = [answer for answer in answers if not isinstance(answer, Rejected)]
        if not heard:
            reason = self._unavailable or "none of its replicas runs"
            raise DeploymentUnavailableError(str(self.deployment), reason)
        return heard

    async def _call_one(self, link: Link, call: Call) -> Reply:
        while link.connection is None:
            if link.gone or link.connecting is None:
                raise Rejected
            # Not the task itself: it goes on when this call is given up.
            await asyncio.wait([link.connecting])
        try:
            stream = link.connection.open(call, lambda _: self._heard(link))
        except ConnectionLost:
            raise Rejected from None
        link.in_flight += 1
        try:
            return await stream.reply
        except ConnectionLost as lost:
            raise ReplicaUnavailableError(
                str(self.deployment), link.replica_id, str(lost)
            ) from None
        except asyncio.CancelledError:
            stream.cancel()
            raise

    def _heard(self, link: Link) -> None:
        """A call that the policy did not place has ended."""
        link.in_flight -= 1
        if (link.gone or link.leaving) and not link.in_flight:
            self._close(link)
        if self._queue:
            self._dispatch()

    def _send(self, call: Call) -> CallStream | None:
        """Send a call now if the policy finds a replica for it, and return its stream."""
        while self._ready:
            policy = self._policy
            assert policy is not None
            choice = policy.choose(call, self._ready)
            if isinstance(choice, Wait):
                return None
            if isinstance(choice, Shed):
                raise self._back_pressure(choice.retry_after_s)
            link: Link = choice  # type: ignore[assignment]  # one of those it was shown
            assert link.connection is not None
            try:
                stream = link.connection.open(call, self._done)
            except ConnectionLost:
                self._break(link)
                continue
            stream.replica_id = link.replica_id
            link.in_flight += 1
            self._streams[stream] = (call, link, policy, time.monotonic())
            _tell(policy.started, call, link)
            return stream
        return None

    async def _wait(self, call: Call, *, front: bool) -> CallStream:
        if self._unavailable:
            raise DeploymentUnavailableError(str(self.deployment), self._unavailable)
        if 0 <= self._max_queued <= len(self._queue) and not front:
            raise self._back_pressure()
        future: asyncio.Future[CallStream] = self._loop.create_future()
        self._queue.join(call, future, front=front)
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                future.result().cancel()
            raise
        finally:
            self._queue.leave(future)

    def _dispatch(self) -> None:
        """Send as many of the waiting calls as replicas take."""
        while self._ready and (entry := self._queue.first()) is not None:
            call, future = entry
            if not future.done():
                try:
                    stream = self._send(call)
                except Exception as error:  # of the policy or of the call itself: it is the answer
                    future.set_exception(error)
                else:
                    if stream is None:
                        return
                    future.set_result(stream)
            self._queue.leave(future)

    def _done(self, stream: CallStream) -> None:
        """A call has ended, somehow: its slot is free."""
        # By the policy that started it: another one may have taken over since.
        call, link, policy, started = self._streams.pop(stream)
        link.in_flight -= 1
        if link.connection is None or link.connection.transport is None:
            _tell(policy.failed, call, link)
        elif stream.refused:
            link.reported = link.connection.replica_load
            link.blocked = True
            _tell(policy.failed, call, link)
        else:
            link.reported = link.connection.replica_load
            link.blocked = False
            elapsed = time.monotonic() - started
            link.latency_s += _SMOOTHING * (elapsed - link.latency_s)
            _tell(policy.finished, call, link)
        if (link.gone or link.leaving) and not link.in_flight:
            self._close(link)
        if self._queue:
            self._dispatch()

    def _back_pressure(self, retry_after_s: float = 1.0) -> BackPressureError:
        return BackPressureError(
            str(self.deployment), len(self._queue), self._max_queued, retry_after_s
        )

    # --- replicas -----------------------------------------------------------------------

    def update(self, snapshot: DeploymentSnapshot) -> None:
        """Take over a newer snapshot."""
        self._max_queued = snapshot.max_queued
        if snapshot.policy != self._policy_name:
            self._policy = self._policies(snapshot.policy)
            self._policy_name = snapshot.policy
        wanted = {entry.replica_id: entry for entry in snapshot.replicas}
        for replica_id in self._links.keys() - wanted.keys():
            self._retire(self._links.pop(replica_id))
        for replica_id, entry in wanted.items():
            link = self._links.get(replica_id)
            if link is None:
                link = Link(entry, local=entry.node_id == self._node_id)
                self._links[replica_id] = link
                link.connecting = self._loop.create_task(self._keep_connected(link))
            link.max_ongoing = entry.max_ongoing
        self._unavailable = "" if snapshot.state == "up" else (snapshot.reason or snapshot.state)
        if self._unavailable and not self._links:
            self._queue.fail(DeploymentUnavailableError(str(self.deployment), self._unavailable))
        self._known.set()
        self._dispatch()
        self._shed_late()

    def _shed_late(self) -> None:
        """Shed calls that came before the limit was known here, or before it was lowered.

        Not those that will find a slot as soon as the replicas just heard of are connected.
        """
        room = sum(max(link.max_ongoing - link.in_flight, 0) for link in self._links.values())
        while 0 <= self._max_queued < len(self._queue) - room:
            error = self._back_pressure()
            future = self._queue.last()
            if not future.done():
                future.set_exception(error)

    async def close(self) -> None:
        """Hang up everywhere. Calls still waiting or in flight fail."""
        self._unavailable = "this process is shutting down"
        self._queue.fail(DeploymentUnavailableError(str(self.deployment), self._unavailable))
        for link in [*self._links.values(), *self._retired]:
            link.gone = True
            self._close(link)
        self._links.clear()
        self._ready.clear()

    async def _keep_connected(self, link: Link) -> None:
        """Connect, and again, for as long as the controller says that the replica is there."""
        attempt = 0
        while not link.gone:
            try:
                connection = await self._connect(link.replica_id, link.address)
            except (OSError, ConnectionLost, AuthenticationError) as error:
                # A refusal is warned of where it is seen, at the connection.
                log.debug("replica %s: %s", link.replica_id, error)
            else:
                self._connected(link, connection)
                return
            await asyncio.sleep(_RECONNECT_S[min(attempt, len(_RECONNECT_S) - 1)])
            attempt += 1

    def _connected(self, link: Link, connection: CallerConnection) -> None:
        link.connection = connection
        link.connection.on_load = lambda: self._unblock(link)
        link.connection.on_advertised = lambda: self._advertised(link)
        link.connection.on_goaway = lambda: self._dismiss(link)
        link.connection.on_lost = lambda: self._break(link)
        self._advertised(link)
        link.blocked = False
        self._ready.append(link)
        self._dispatch()

    def _unblock(self, link: Link) -> None:
        link.blocked = False
        assert link.connection is not None
        link.reported = link.connection.replica_load
        self._dispatch()

    def _advertised(self, link: Link) -> None:
        if link.connection is not None:
            link.advertised = link.connection.advertised

    def _dismiss(self, link: Link) -> None:
        """The replica is leaving: hang up as soon as what is in flight there has ended.

        It waits for that, and so knows that nothing more is on its way.
        """
        self._leave(link)
        link.leaving = True
        if not link.in_flight:
            self._close(link)

    def _leave(self, link: Link) -> None:
        """Send it no new calls; those in flight there go on."""
        if link in self._ready:
            self._ready.remove(link)

    def _break(self, link: Link) -> None:
        """The connection is gone: send nothing there until another stands."""
        self._leave(link)
        if link.connection is None:
            return
        link.connection = None
        if not link.gone and not link.leaving:
            link.connecting = self._loop.create_task(self._keep_connected(link))

    def _retire(self, link: Link) -> None:
        """The controller no longer lists the replica."""
        link.gone = True
        self._leave(link)
        if link.in_flight:
            self._retired.add(link)
        else:
            self._close(link)

    def _close(self, link: Link) -> None:
        self._retired.discard(link)
        if link.connecting is not None:
            link.connecting.cancel()
        if link.connection is not None:
            link.connection.close()


def _tell(heard: Callable[[Call, ReplicaLoad], None], call: Call, replica: ReplicaLoad) -> None:
    """Tell a policy what became of a call; its failure must not cost the slot."""
    try:
        heard(call, replica)
    except Exception:  # foreign code
        log.exception("a routing policy failed in %s", getattr(heard, "__qualname__", heard))
