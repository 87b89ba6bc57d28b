"""The replicas of one deployment in one process: connected, ejected or leaving.

The controller's snapshots list the replicas. Each is connected to at once, and again when its
connection breaks. An unresponsive replica, which does not even answer a PING, is ejected within two
seconds, and restored by its first byte. `ejection` has the rules.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable

from .._wire.authentication import AuthenticationError
from .._wire.caller_connection import CallerConnection, ConnectionLost
from ..actors import ReplicaEntry
from ..types import Address, DeploymentId, ReplicaLoad, RouterObserver
from .ejection import Ejection, FailureRecord, first_restored, max_ejected
from .sweep import TICK_S, Sweep

__all__ = ["Connect", "Link", "ReplicaPool"]

log = logging.getLogger("alacarte.router")

Connect = Callable[[str, Address], Awaitable[CallerConnection]]
"""Connects to the replica with an id at an address."""

_REPORT_AT_ATTEMPT = 2
_REPORT_EVERY_ATTEMPTS = 10
"""Failed attempts to connect that are reported to the controller: the first, and the period."""
_RECONNECT_DELAYS_S = (0.02, 0.1, 0.5, 1.0)
PING_ROUNDS = 3
"""Rounds of the sweep with calls in flight and no byte received, after which a PING is sent."""
UNRESPONSIVE_ROUNDS = 7
"""Rounds without a byte, the answer to that PING included, after which a replica is ejected."""
_REPORT_EVERY_ROUNDS = 20
_ABORT_ROUNDS = 120
"""Rounds after which the connection to an unresponsive replica that was removed is aborted."""
_UNRESPONSIVE_S = UNRESPONSIVE_ROUNDS * TICK_S


class Link(ReplicaLoad):
    """A replica and the connection to it.

    Attributes:
        removed: The controller no longer lists the replica.
        leaving: The replica has sent GOAWAY and accepts no new calls.
        unanswered_rounds: Consecutive rounds of the sweep in which a byte was due and none came.
        record: Failures of the replica; None before the first one.
        lost_work: The connection broke with calls in flight.
    """

    __slots__ = (
        "address", "connecting", "connection", "leaving", "lost_work", "record", "removed",
        "unanswered_rounds",
    )  # fmt: skip

    def __init__(self, entry: ReplicaEntry, *, local: bool) -> None:
        super().__init__(
            entry.replica_id, max_ongoing=entry.max_ongoing, node_id=entry.node_id, local=local
        )
        self.address = entry.address
        self.connection: CallerConnection | None = None
        self.connecting: asyncio.Task[None] | None = None
        self.removed = False
        self.leaving = False
        self.unanswered_rounds = 0
        self.record: FailureRecord | None = None
        self.lost_work = False

    @property
    def unresponsive(self) -> bool:
        """Whether the replica has left several pings unanswered."""
        return self.unanswered_rounds >= UNRESPONSIVE_ROUNDS


class ReplicaPool:
    """Keeps a connection to each replica, and the list of replicas that accept calls.

    Args:
        connect: Opens a connection to a replica.
        node_id: The node whose replicas are local, "" for none.
        clock: Monotonic seconds.
        sweep: The sweep of this process.
        on_freed: Called when a waiting call may find a slot.
        on_grown: Called before `on_freed` when the capacity has grown.
        on_unresponsive: Called when a replica has become unresponsive.
        on_left: Called when a replica has left, after the end of its last call.
        on_suspect: Reports a replica to the controller, by id and reason.
        observer: The observer of plugins; None without one.

    Attributes:
        ready: The replicas that accept calls. Always the same list.
        links: All replicas that the controller lists, by id.
    """

    def __init__(
        self,
        deployment: DeploymentId,
        connect: Connect,
        node_id: str,
        clock: Callable[[], float],
        sweep: Sweep,
        *,
        on_freed: Callable[[], None],
        on_grown: Callable[[], None],
        on_unresponsive: Callable[[Link], None],
        on_left: Callable[[Link], None],
        on_suspect: Callable[[str, str], None],
        observer: RouterObserver | None = None,
    ) -> None:
        self.ready: list[Link] = []
        self.links: dict[str, Link] = {}
        self._deployment = deployment
        self._connect = connect
        self._node_id = node_id
        self._clock = clock
        self._sweep = sweep
        self._on_freed = on_freed
        self._on_grown = on_grown
        self._on_unresponsive = on_unresponsive
        self._on_left = on_left
        self._on_suspect = on_suspect
        self._observer = observer
        self._ejected: dict[Link, Ejection] = {}
        self._retired: set[Link] = set()
        self._loop = asyncio.get_running_loop()
        self._random = random.Random()
        sweep.add(self._check_responses)

    # --- the controller's snapshots -----------------------------------------------------

    def change(self, changed: Iterable[ReplicaEntry], removed: Iterable[str]) -> None:
        """Apply a change of the controller's list of replicas."""
        for replica_id in removed:
            link = self.links.pop(replica_id, None)
            if link is not None:
                self._retire(link)
        for entry in changed:
            link = self.links.get(entry.replica_id)
            if link is None:
                link = Link(entry, local=entry.node_id == self._node_id)
                self.links[entry.replica_id] = link
                link.connecting = self._loop.create_task(self._keep_connected(link))
            if entry.max_ongoing > link.max_ongoing:
                self._on_grown()
            link.max_ongoing = entry.max_ongoing

    @property
    def is_busy(self) -> bool:
        """Whether a replica is listed, or calls are in flight at removed replicas."""
        return bool(self.links or self._retired)

    @property
    def free_slots(self) -> int:
        """Number of calls that the replicas accept, including replicas that are connecting."""
        return sum(max(link.max_ongoing - link.in_flight, 0) for link in self.links.values())

    def reopen(self) -> None:
        """Continue after `close`."""
        self._sweep.add(self._check_responses)

    def close(self) -> None:
        """Close the connections to all replicas."""
        self._sweep.discard(self._check_responses)
        for link in [*self.links.values(), *self._retired]:
            link.removed = True
            self.hang_up(link)
        self.links.clear()
        self.ready.clear()
        self._ejected.clear()

    # --- failures -----------------------------------------------------------------------

    def unanswered(self, link: Link) -> None:
        """Record a call whose deadline passed while its replica did not even answer a PING."""
        if self._failed(link) and link in self.ready:
            self._eject_or_restore(link)
            self._warn(link, "has failed several times in a row")

    def broken(self, link: Link) -> None:
        """Handle the loss of a connection: connect again, and send no calls before that."""
        self._remove_ready(link)
        if link.connection is None:
            return
        link.connection = None
        if link.lost_work:
            link.lost_work = False
            self._failed(link)
        if not link.removed and not link.leaving:
            link.connecting = self._loop.create_task(self._keep_connected(link))

    def _lost(self, link: Link, connection: CallerConnection) -> None:
        # A failed send may have reported the loss before, and a new connection may stand.
        if link.connection is connection:
            self.broken(link)

    def hang_up(self, link: Link) -> None:
        """Close the connection to a replica without calls in flight."""
        if link in self._retired:
            self._retired.remove(link)
            self._on_left(link)
        if link.connecting is not None:
            link.connecting.cancel()
        if link.connection is not None:
            link.connection.close()

    # --- connecting ---------------------------------------------------------------------

    async def _keep_connected(self, link: Link) -> None:
        """Connect to a replica; retry for as long as the controller lists the replica."""
        attempt = 0
        while not link.removed:
            try:
                connection = await self._connect(link.replica_id, link.address)
            except (OSError, ConnectionLost, AuthenticationError) as error:
                # The connection itself warns about a failed handshake.
                log.debug("replica %s: %s", link.replica_id, error)
                # The cluster may be slow to notice the end of a process or a node.
                if attempt % _REPORT_EVERY_ATTEMPTS == _REPORT_AT_ATTEMPT:
                    self._on_suspect(link.replica_id, f"a connection to it failed: {error}")
            else:
                self._connected(link, connection)
                return
            await asyncio.sleep(_RECONNECT_DELAYS_S[min(attempt, len(_RECONNECT_DELAYS_S) - 1)])
            attempt += 1

    def _connected(self, link: Link, connection: CallerConnection) -> None:
        link.connection = connection
        connection.on_load = lambda: self._unblock(link)
        connection.on_advertised = lambda: self._advertised(link)
        connection.on_goaway = lambda: self._dismiss(link)
        connection.on_pong = lambda: self._answers(link)
        connection.on_lost = lambda: self._lost(link, connection)
        self._advertised(link)
        link.blocked = False
        link.unanswered_rounds = 0
        link.lost_work = False
        if self._observer is not None:
            self._observer.joined(link)
        self._eject_or_restore(link)
        self._on_grown()
        self._on_freed()

    def _unblock(self, link: Link) -> None:
        link.blocked = False
        assert link.connection is not None
        link.reported = link.connection.replica_load
        self._on_freed()

    def _advertised(self, link: Link) -> None:
        if link.connection is not None:
            link.advertised = link.connection.advertised

    # --- leaving ------------------------------------------------------------------------

    def _dismiss(self, link: Link) -> None:
        """Drain a replica that has sent GOAWAY: close its connection after its last call.

        The replica waits for the close, and then knows that no further call can arrive.
        """
        self._remove_ready(link)
        link.leaving = True
        if not link.in_flight:
            self.hang_up(link)

    def _retire(self, link: Link) -> None:
        """Drain a replica that the controller no longer lists."""
        link.removed = True
        self._remove_ready(link)
        self._retired.add(link)
        if not link.in_flight:
            self.hang_up(link)

    def _remove_ready(self, link: Link) -> None:
        """Send a replica no new calls; its calls in flight go on."""
        self._ejected.pop(link, None)
        if link in self.ready:
            self.ready.remove(link)
            self._restore()

    # --- ejection -----------------------------------------------------------------------

    def _eject_or_restore(self, link: Link) -> None:
        """Eject a connected replica that fails or is unresponsive; make any other one ready."""
        until = float("-inf") if link.record is None else link.record.until
        failing = link.unresponsive or until > self._clock()
        was_ready = link in self.ready
        connected = len(self.ready) + len(self._ejected)
        if not was_ready and link not in self._ejected:
            connected += 1
        if failing and (link in self._ejected or len(self._ejected) < max_ejected(connected)):
            if self._observer is not None and link not in self._ejected:
                self._observer.ejected(link)
            self._ejected[link] = Ejection(link.unresponsive, until)
            if was_ready:
                self.ready.remove(link)
            if not link.unresponsive:
                self._loop.call_later(
                    max(until - self._clock(), 0), self._end_ejection, link, until
                )
        else:
            was_ejected = self._ejected.pop(link, None) is not None
            if not was_ready:
                self.ready.append(link)
            if was_ejected and self._observer is not None:
                self._observer.restored(link)

    def _end_ejection(self, link: Link, until: float) -> None:
        """End an ejection, unless the replica was ejected again."""
        if link.record is not None and link.record.until == until:
            link.record.until = float("-inf")
            if link in self._ejected:
                self._eject_or_restore(link)
                self._on_freed()

    def _restore(self) -> None:
        """Restore ejected replicas that are too many now that ready ones have left."""
        while len(self._ejected) > max_ejected(len(self.ready) + len(self._ejected)):
            link = first_restored(self._ejected)
            del self._ejected[link]
            self.ready.append(link)
            if self._observer is not None:
                self._observer.restored(link)
            # In a later iteration of the event loop: the router may be sending a call now.
            self._loop.call_soon(self._on_freed)

    def _failed(self, link: Link) -> bool:
        if link.record is None:
            link.record = FailureRecord()
        return link.record.failed(self._clock(), self._random.random())

    def _warn(self, link: Link, fault: str) -> None:
        consequence = (
            "it is ejected for now"
            if link in self._ejected
            else "it still gets calls, because no more replicas may be ejected"
        )
        log.warning("%s: replica %s %s; %s.", self._deployment, link.replica_id, fault, consequence)

    # --- unresponsive -------------------------------------------------------------------

    def _check_responses(self) -> bool:
        """Check for unresponsive replicas, each round of the sweep; return whether to go on."""
        busy = False
        for link in [*self.links.values(), *self._retired]:
            connection = link.connection
            if connection is None:
                continue
            if connection.has_received:
                connection.has_received = False
                if link.unanswered_rounds:
                    self._answers(link)
            elif link.in_flight or link.unanswered_rounds >= PING_ROUNDS:
                link.unanswered_rounds += 1
                self._handle_unresponsive(link, connection)
            if link.in_flight or link.unanswered_rounds >= PING_ROUNDS:
                busy = True
        return busy

    def _handle_unresponsive(self, link: Link, connection: CallerConnection) -> None:
        if link.unanswered_rounds == PING_ROUNDS:
            connection.ping()
        elif link.unanswered_rounds >= UNRESPONSIVE_ROUNDS:
            if link in self.ready:  # each round: other ejected replicas may have kept it ready
                self._eject_or_restore(link)
            if link.unanswered_rounds == UNRESPONSIVE_ROUNDS:
                self._warn(link, f"has not answered for {_UNRESPONSIVE_S:g} s")
                self._on_unresponsive(link)
            rounds = link.unanswered_rounds - UNRESPONSIVE_ROUNDS
            if rounds % _REPORT_EVERY_ROUNDS == 0 and not link.removed:
                reason = f"it has not answered for {_UNRESPONSIVE_S:g} s or longer"
                self._on_suspect(link.replica_id, reason)
            if link.removed and link.unanswered_rounds >= _ABORT_ROUNDS:
                connection.abort()

    def _answers(self, link: Link) -> None:
        """Handle the first byte of an unresponsive replica, whose event loop runs again."""
        was_ejected = link in self._ejected
        link.unanswered_rounds = 0
        if was_ejected:
            self._eject_or_restore(link)
            if link not in self._ejected:
                log.info("%s: replica %s answers again.", self._deployment, link.replica_id)
                self._on_freed()
