"""A route with several targets: which of them a call takes, and what became of it.

A `Split` is made for each version of a route. Its way adds to a call a draw, two readings of the
clock and a few additions; shadows get their copies after the original has been sent.
"""

from __future__ import annotations

import asyncio
import functools
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from .._model.tallies import split_key
from ..actors import SplitReport
from ..errors import DeploymentUnavailableError, InvalidRequestError
from ..types import Call, DeploymentId, Reply, Route, Service
from .copies import MOST_COPIES, Copied, Original, Room, copy_of, kept, size_of
from .shares import at, sticky
from .tally import Tally

__all__ = ["COPY_LIMIT_S", "Failed", "Split", "Successor"]

COPY_LIMIT_S = 60.0
"""For a copy to be answered, unless the original has less."""

Failed = Callable[[Reply], bool]
"""Tells of a reply whether it stands for an error."""
Successor = Callable[["Split", DeploymentId, Failed], Awaitable[tuple[Route, Service] | None]]
_Outcome = tuple[float, bool]


@dataclass(slots=True)
class _Target:
    deployment: DeploymentId
    name: str
    weight: float
    service: Service
    tally: Tally = field(default_factory=Tally)


@dataclass(slots=True)
class _Shadow:
    target: _Target
    room: Room


class Split:
    """The way to a route's targets, in one process. Lives on its runtime's loop.

    Args:
        service_of: Gives the way to a deployment.
        room_of: Gives the room for copies to a shadow.
        successor: Gives what the route has become, since a target is unavailable, and the way to
            it; None while it is as it was.
        draw: Gives numbers from 0 up to 1.

    Attributes:
        key: See `split_key`.
        since: When it was made, in seconds since 1970.
    """

    def __init__(
        self,
        route: Route,
        service_of: Callable[[DeploymentId], Service],
        room_of: Callable[[DeploymentId], Room],
        successor: Successor,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.route = route
        self.key = split_key(route)
        self._successor = successor
        self._draw = draw
        self.since = time.time()
        self._targets = [
            _Target(deployment, str(deployment), weight, service_of(deployment))
            for deployment, weight in route.targets.items()
        ]
        self._names = [target.name for target in self._targets]
        self._weights = [target.weight for target in self._targets]
        self._salt = route.name or route.prefix
        self._shadows = [
            _Shadow(
                _Target(deployment, str(deployment), share, service_of(deployment)),
                room_of(deployment),
            )
            for deployment, share in route.shadows.items()
        ]

    async def call(self, call: Call, failed: Failed) -> Reply:
        """Make a call of one of the targets, and copies of it where it is to have some."""
        target = self._targets[self._choose(call.routing_key)]
        original = None
        if self._shadows and not call.alone:
            original = self._copy(call, failed)
        entered = call.app == self.route.app
        self._enter(call, target)
        began = time.perf_counter()
        try:
            reply = await target.service(call)
        except DeploymentUnavailableError as error:
            # Its weight may have been taken away while the call was waiting for a replica. Of
            # another deployment, it is what the user's code met, which has run.
            if error.deployment == target.name:
                found = await self._successor(self, target.deployment, failed)
                if found is not None:
                    return await _redirected(call, *found, entered=entered, original=original)
            self._end(target, began, original, failed=True)
            raise
        except Exception as error:
            self._end(target, began, original, failed=not isinstance(error, InvalidRequestError))
            raise
        except BaseException:  # the caller has given it up, so it does not count
            if original is not None:
                original.give_up()
            raise
        # Its body may still be on its way where the reply streams.
        answered = None if reply.rest is not None else original
        self._end(target, began, answered, failed=failed(reply))
        return reply

    def _end(
        self, target: _Target, began: float, original: Original | None, *, failed: bool
    ) -> None:
        target.tally.note(time.perf_counter() - began, failed)
        if original is not None:
            original.give_up()

    def _choose(self, key: str) -> int:
        if len(self._targets) == 1:
            return 0
        if key:
            return sticky(self._names, self._weights, key, self._salt)
        return at(self._weights, self._draw())

    def _enter(self, call: Call, target: _Target) -> None:
        """A call that comes in by this route is in the application that answers it."""
        if call.app == self.route.app:
            call.app = target.deployment.app

    # --- shadows ------------------------------------------------------------------------

    def _copy(self, call: Call, failed: Failed) -> Original | None:
        """Have copies sent, soon; return the call's body where it has one, and put it there."""
        size = size_of(call.payload)
        payload = None
        bodies = []
        limit_s = COPY_LIMIT_S
        now = time.monotonic()
        if call.deadline is not None:
            limit_s = min(limit_s, max(call.deadline - now, 0.0))
        for shadow in self._shadows:
            share = shadow.target.weight
            if share < 1 and self._draw() >= share:
                continue
            room = shadow.room
            if len(room.tasks) >= MOST_COPIES or not room.allows(size):
                shadow.target.tally.dropped += 1
                continue
            if payload is None:
                payload = kept(call.payload)
            body = None if call.body is None else Copied(room)
            copied = copy_of(call, payload, body, now + limit_s, limit_s)
            self._enter(copied, shadow.target)
            # Its first step comes after the original's, which is taken without a pause.
            task = asyncio.create_task(_exchange(shadow.target.service, copied, failed))
            task.add_done_callback(functools.partial(_copied, shadow, body, size))
            room.tasks.add(task)
            room.bytes += size
            if body is not None:
                body.on_lost = task.cancel
                bodies.append(body)
        if call.body is None or not bodies:
            return None
        call.body = original = Original(call.body, bodies)
        return original

    # --- what became of it ----------------------------------------------------------------

    @property
    def events(self) -> int:
        """How much has been counted."""
        return sum(each.tally.events for each in self._targets) + sum(
            each.target.tally.events for each in self._shadows
        )

    def report(self) -> SplitReport:
        """Return what has been counted since the split was made."""
        tallies = [each.tally.report(each.name, shadow=False) for each in self._targets]
        tallies += [
            each.target.tally.report(each.target.name, shadow=True) for each in self._shadows
        ]
        return SplitReport(self.key, self.since, tuple(tallies))


async def _redirected(
    call: Call, route: Route, service: Service, *, entered: bool, original: Original | None
) -> Reply:
    """Make a call that nothing has become of where its route leads by now."""
    if entered:
        call.app = route.app
    call.alone = True  # its copies are on their ways
    reply = None
    try:
        reply = await service(call)
        return reply
    finally:
        if original is not None and (reply is None or reply.rest is None):
            original.give_up()


def _copied(shadow: _Shadow, body: Copied | None, size: int, task: asyncio.Task[_Outcome]) -> None:
    """A copy has come to its end; or was given up, even before its first step."""
    shadow.room.tasks.discard(task)
    shadow.room.bytes -= size
    if body is not None:
        body.discard()
    if task.cancelled():
        shadow.target.tally.dropped += 1
    else:
        shadow.target.tally.note(*task.result())


async def _exchange(service: Service, call: Call, failed: Failed) -> _Outcome:
    """Make a call and read its reply to the end, as its caller would; return what is counted."""
    began = time.perf_counter()
    outcome = None
    try:
        async with asyncio.timeout(call.timeout_s):
            reply = await service(call)
            outcome = time.perf_counter() - began, failed(reply)
            await _exhaust(reply)
    except InvalidRequestError:
        outcome = time.perf_counter() - began, False
    except Exception:  # the count's concern, and nobody else's
        # As of an original, what counts is how the reply begins.
        outcome = outcome or (time.perf_counter() - began, True)
    return outcome


async def _exhaust(reply: Reply) -> None:
    """Read a reply to its end, as whoever had asked for it would."""
    if reply.rest is None:
        return
    try:
        async for _ in reply.rest:
            pass
    finally:
        close = getattr(reply.rest, "aclose", None)
        if close is not None:
            await close()
