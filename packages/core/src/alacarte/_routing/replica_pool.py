"""The replicas of one deployment as one process knows them: connected, ejected, leaving.

The controller's snapshots list them. Each is connected to at once, and again when its connection
breaks. A replica that answers nothing at all, a PING included, is ejected within two seconds, and
restored by the first byte that comes from it. The rules are in `ejection`.
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
from .ejection import Ejection, Record, first_restored, max_ejected
from .sweep import TICK_S, Sweep

__all__ = ["Connect", "Link", "ReplicaPool"]

log = logging.getLogger("alacarte.router")

Connect = Callable[[str, Address], Awaitable[CallerConnection]]
"""Connects to the replica of that id at that address."""

_TELL_ATTEMPTS = 2
_TELL_AGAIN_ATTEMPTS = 10
"""At which failed attempts to connect the controller is told."""
_RECONNECT_S = (0.02, 0.1, 0.5, 1.0)
PING_ROUNDS = 3
"""Rounds of the sweep with calls in flight and nothing heard, after which a PING is sent."""
SILENT_ROUNDS = 7
"""Rounds with nothing heard, an answer to that PING included, after which a replica is ejected."""
_TELL_AGAIN_ROUNDS = 20
_LOST_ROUNDS = 120
"""Rounds after which a silent replica that the controller has removed will not answer any more."""
_SILENT_S = SILENT_ROUNDS * TICK_S


class Link(ReplicaLoad):
    """A replica with the connection to it.

    Attributes:
        gone: The controller no longer lists it.
        leaving: It has said that it takes no new calls.
        silence: Rounds of the sweep in which nothing came though something was due.
        record: Its failures, None while there were none.
        lost_work: Its connection broke with calls in flight.
    """

    __slots__ = (
        "address", "connecting", "connection", "gone", "leaving", "lost_work", "record", "silence",
    )  # fmt: skip

    def __init__(self, entry: ReplicaEntry, *, local: bool) -> None:
        super().__init__(
            entry.replica_id, max_ongoing=entry.max_ongoing, node_id=entry.node_id, local=local
        )
        self.address = entry.address
        self.connection: CallerConnection | None = None
        self.connecting: asyncio.Task[None] | None = None
        self.gone = False
        self.leaving = False
        self.silence = 0
        self.record: Record | None = None
        self.lost_work = False

    @property
    def silent(self) -> bool:
        return self.silence >= SILENT_ROUNDS


class ReplicaPool:
    """Keeps a connection to each replica, and the list of those that calls may go to.

    Args:
        connect: Opens a connection to a replica.
        node_id: The node whose replicas are local, "" for none.
        clock: Seconds, never going back.
        sweep: Of this process.
        freed: Called when a waiting call may find a slot.
        joined: Called before that when there is more room than there was.
        silent: Called when a replica has stopped answering.
        left: Called when a replica is gone, after the last of its calls.
        suspect: Tells the controller of a replica, by its id, and why.
        observer: Of a plugin, None where none asks.

    Attributes:
        ready: The replicas that calls may go to. Always the same list.
        links: All that the controller lists, by id.
    """

    def __init__(
        self,
        deployment: DeploymentId,
        connect: Connect,
        node_id: str,
        clock: Callable[[], float],
        sweep: Sweep,
        *,
        freed: Callable[[], None],
        joined: Callable[[], None],
        silent: Callable[[Link], None],
        left: Callable[[Link], None],
        suspect: Callable[[str, str], None],
        observer: RouterObserver | None = None,
    ) -> None:
        self.ready: list[Link] = []
        self.links: dict[str, Link] = {}
        self._deployment = deployment
        self._connect = connect
        self._node_id = node_id
        self._clock = clock
        self._sweep = sweep
        self._freed = freed
        self._joined = joined
        self._silent = silent
        self._left = left
        self._suspect = suspect
        self._observer = observer
        self._ejected: dict[Link, Ejection] = {}
        self._retired: set[Link] = set()
        self._loop = asyncio.get_running_loop()
        self._random = random.Random()
        sweep.add(self._look)

    # --- what the controller says -------------------------------------------------------

    def change(self, changed: Iterable[ReplicaEntry], removed: Iterable[str]) -> None:
        """Take over replicas that are new or changed, and let go of those that are gone."""
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
                self._joined()
            link.max_ongoing = entry.max_ongoing

    @property
    def is_busy(self) -> bool:
        """Whether there are replicas, or calls at those that are gone."""
        return bool(self.links or self._retired)

    @property
    def free_slots(self) -> int:
        """How many calls the replicas take, those that are not connected yet included."""
        return sum(max(link.max_ongoing - link.in_flight, 0) for link in self.links.values())

    def reopen(self) -> None:
        """Go on after `close`."""
        self._sweep.add(self._look)

    def close(self) -> None:
        """Hang up everywhere."""
        self._sweep.discard(self._look)
        for link in [*self.links.values(), *self._retired]:
            link.gone = True
            self.hang_up(link)
        self.links.clear()
        self.ready.clear()
        self._ejected.clear()

    # --- what becomes of calls ----------------------------------------------------------

    def unanswered(self, link: Link) -> None:
        """A call's time is over, and the replica has not even answered a PING."""
        if self._failed(link) and link in self.ready:
            self._place(link)
            self._warn(link, "has failed several times in a row")

    def broken(self, link: Link) -> None:
        """The connection is gone: send nothing there until another stands."""
        self._leave(link)
        if link.connection is None:
            return
        link.connection = None
        if link.lost_work:
            link.lost_work = False
            self._failed(link)
        if not link.gone and not link.leaving:
            link.connecting = self._loop.create_task(self._keep_connected(link))

    def _lost(self, link: Link, connection: CallerConnection) -> None:
        # One that was found broken before it said so has a successor by now.
        if link.connection is connection:
            self.broken(link)

    def hang_up(self, link: Link) -> None:
        """Nothing more is expected from there."""
        if link in self._retired:
            self._retired.remove(link)
            self._left(link)
        if link.connecting is not None:
            link.connecting.cancel()
        if link.connection is not None:
            link.connection.close()

    # --- connecting ---------------------------------------------------------------------

    async def _keep_connected(self, link: Link) -> None:
        """Connect, and again, for as long as the controller says that the replica is there."""
        attempt = 0
        while not link.gone:
            try:
                connection = await self._connect(link.replica_id, link.address)
            except (OSError, ConnectionLost, AuthenticationError) as error:
                # A refusal is warned of where it is seen, at the connection.
                log.debug("replica %s: %s", link.replica_id, error)
                # The cluster may take long to see that its process, or its node, is gone.
                if attempt % _TELL_AGAIN_ATTEMPTS == _TELL_ATTEMPTS:
                    self._suspect(link.replica_id, f"it cannot be connected to: {error}")
            else:
                self._connected(link, connection)
                return
            await asyncio.sleep(_RECONNECT_S[min(attempt, len(_RECONNECT_S) - 1)])
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
        link.silence = 0
        link.lost_work = False
        if self._observer is not None:
            self._observer.joined(link)
        self._place(link)
        self._joined()
        self._freed()

    def _unblock(self, link: Link) -> None:
        link.blocked = False
        assert link.connection is not None
        link.reported = link.connection.replica_load
        self._freed()

    def _advertised(self, link: Link) -> None:
        if link.connection is not None:
            link.advertised = link.connection.advertised

    # --- leaving ------------------------------------------------------------------------

    def _dismiss(self, link: Link) -> None:
        """The replica is leaving: hang up as soon as what is in flight there has ended.

        It waits for that, and so knows that nothing more is on its way.
        """
        self._leave(link)
        link.leaving = True
        if not link.in_flight:
            self.hang_up(link)

    def _retire(self, link: Link) -> None:
        """The controller no longer lists the replica."""
        link.gone = True
        self._leave(link)
        self._retired.add(link)
        if not link.in_flight:
            self.hang_up(link)

    def _leave(self, link: Link) -> None:
        """Send it no new calls; those in flight there go on."""
        self._ejected.pop(link, None)
        if link in self.ready:
            self.ready.remove(link)
            self._restore()

    # --- ejected ------------------------------------------------------------------------

    def _place(self, link: Link) -> None:
        """Put a connected replica among the ready ones, or eject it."""
        until = float("-inf") if link.record is None else link.record.until
        failing = link.silent or until > self._clock()
        was_ready = link in self.ready
        connected = len(self.ready) + len(self._ejected)
        if not was_ready and link not in self._ejected:
            connected += 1
        if failing and (link in self._ejected or len(self._ejected) < max_ejected(connected)):
            if self._observer is not None and link not in self._ejected:
                self._observer.ejected(link)
            self._ejected[link] = Ejection(link.silent, until)
            if was_ready:
                self.ready.remove(link)
            if not link.silent:
                self._loop.call_later(max(until - self._clock(), 0), self._due, link, until)
        else:
            was_ejected = self._ejected.pop(link, None) is not None
            if not was_ready:
                self.ready.append(link)
            if was_ejected and self._observer is not None:
                self._observer.restored(link)

    def _due(self, link: Link, until: float) -> None:
        """An ejection is over, unless the replica was ejected again."""
        if link.record is not None and link.record.until == until:
            link.record.until = float("-inf")
            if link in self._ejected:
                self._place(link)
                self._freed()

    def _restore(self) -> None:
        """Restore the best of the ejected replicas, since so many others have gone."""
        while len(self._ejected) > max_ejected(len(self.ready) + len(self._ejected)):
            link = first_restored(self._ejected)
            del self._ejected[link]
            self.ready.append(link)
            if self._observer is not None:
                self._observer.restored(link)
            # Not in this turn: whoever found a connection broken may be sending a call.
            self._loop.call_soon(self._freed)

    def _failed(self, link: Link) -> bool:
        if link.record is None:
            link.record = Record()
        return link.record.failed(self._clock(), self._random.random())

    def _warn(self, link: Link, what: str) -> None:
        calls = (
            "it is ejected for now"
            if link in self._ejected
            else "calls still go to it, because as many replicas are ejected as may be"
        )
        log.warning("%s: replica %s %s; %s.", self._deployment, link.replica_id, what, calls)

    # --- silence ------------------------------------------------------------------------

    def _look(self) -> bool:
        """Look for replicas that answer nothing. A round of the sweep."""
        busy = False
        for link in [*self.links.values(), *self._retired]:
            connection = link.connection
            if connection is None:
                continue
            if connection.heard:
                connection.heard = False
                if link.silence:
                    self._answers(link)
            elif link.in_flight or link.silence >= PING_ROUNDS:
                link.silence += 1
                self._unheard(link, connection)
            if link.in_flight or link.silence >= PING_ROUNDS:
                busy = True
        return busy

    def _unheard(self, link: Link, connection: CallerConnection) -> None:
        if link.silence == PING_ROUNDS:
            connection.ping()
        elif link.silence >= SILENT_ROUNDS:
            if link in self.ready:  # again and again: it may have to stay until others are back
                self._place(link)
            if link.silence == SILENT_ROUNDS:
                self._warn(link, f"has not answered for {_SILENT_S:g} s")
                self._silent(link)
            if (link.silence - SILENT_ROUNDS) % _TELL_AGAIN_ROUNDS == 0 and not link.gone:
                self._suspect(link.replica_id, f"it has not answered for {_SILENT_S:g} s or longer")
            if link.gone and link.silence >= _LOST_ROUNDS:
                connection.abort()

    def _answers(self, link: Link) -> None:
        """It has said something: whatever was wrong, its event loop turns again."""
        was_ejected = link in self._ejected
        link.silence = 0
        if was_ejected:
            self._place(link)
            if link not in self._ejected:
                log.info("%s: replica %s answers again.", self._deployment, link.replica_id)
                self._freed()
