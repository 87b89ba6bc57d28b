"""Recovery of the replicas of a former controller, and the end of orphaned ones.

A controller may die between any two lines. The actors that it started live on, and are found by the
instance's name prefix.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from .._cluster.actor_names import replica_prefix, service_prefix
from .._cluster.cluster_protocol import Actor, ActorDied, Cluster
from .._cluster.stubs import stub, timeout_of
from ..actors import Membership, NodeServiceProtocol, ReplicaInfo, ReplicaProtocol

__all__ = ["Recovery", "Survivor"]

log = logging.getLogger("alacarte.controller")
T = TypeVar("T")
_RETRY_DELAYS_S = (0.0, 0.1, 0.5)
_ORPHAN_CHECK_INTERVAL_S = 30.0
"""Interval of the search for orphaned replicas."""
_DRAIN_S = 20.0


@dataclass(frozen=True)
class Survivor:
    """A running replica of a former controller."""

    actor: Actor
    info: ReplicaInfo
    membership: Membership


class Recovery:
    """Finds the running actors of an instance. Lives on the controller's loop.

    Args:
        instance: Name of the instance.
    """

    def __init__(self, cluster: Cluster, instance: str) -> None:
        self._cluster = cluster
        self._prefix = replica_prefix(instance)
        self._services = service_prefix(instance)
        self._draining: dict[str, asyncio.Task[None]] = {}

    async def survivors(self) -> list[Survivor]:
        """Return the replicas that are ready or draining; kill all others.

        The others were still starting or do not answer, so no router knows them.
        """
        names = await self._cluster.list_actors(self._prefix)
        found = await asyncio.gather(*(self._describe(name) for name in names))
        return [each for each in found if each is not None]

    async def _describe(self, name: str) -> Survivor | None:
        async def request(actor: Actor) -> tuple[ReplicaInfo | None, Membership]:
            replica = stub(ReplicaProtocol, actor)
            # One timeout for both calls: a process answers both or neither.
            async with asyncio.timeout(timeout_of(ReplicaProtocol.describe)):
                return await replica.describe(), await replica.membership()

        actor, answer = await self._call(name, request)
        if actor is None:
            return None
        if answer is None or answer[0] is None:
            actor.kill()
            return None
        return Survivor(actor, answer[0], answer[1])

    async def membership(self, survivors: Sequence[Survivor]) -> Membership | None:
        """Return the membership of the instance's processes, None if no process answers.

        Args:
            survivors: The remaining replicas. If their secrets differ, the majority's counts.
        """
        known = [each.membership for each in survivors]
        if known:
            secret, _ = Counter(each.secret for each in known).most_common(1)[0]
            return next(each for each in known if each.secret == secret)
        asking = [
            asyncio.create_task(self._membership_of(name))
            for name in await self._cluster.list_actors(self._services)
        ]
        try:
            # The first answer is enough: a stopped process must not delay the others.
            for answer in asyncio.as_completed(asking):
                found = await answer
                if found is not None:
                    return found
        finally:
            for each in asking:
                each.cancel()
        return None

    async def _membership_of(self, name: str) -> Membership | None:
        async def request(actor: Actor) -> Membership:
            return await stub(NodeServiceProtocol, actor).membership()

        _, answer = await self._call(name, request)
        return answer

    async def _call(
        self, name: str, request: Callable[[Actor], Awaitable[T]]
    ) -> tuple[Actor | None, T | None]:
        """Return an actor and its answer, None for an actor or an answer that does not exist.

        Retries, because a lost answer looks like the death of the actor.
        """
        actor: Actor | None = None
        for pause in _RETRY_DELAYS_S:
            await asyncio.sleep(pause)
            actor = await self._cluster.find_actor(name)
            if actor is None:
                break
            with contextlib.suppress(ActorDied, TimeoutError):  # which `ActorUnresponsive` is, too
                return actor, await request(actor)
        return actor, None

    def drain(self, actor: Actor) -> None:
        """Let a replica of a deleted deployment finish its requests, then end it."""
        self._draining[actor.name] = asyncio.create_task(self._drain(actor))

    async def _drain(self, actor: Actor) -> None:
        try:
            await stub(ReplicaProtocol, actor).stop(_DRAIN_S)
        except Exception as error:  # of the user's destructor, for example
            log.debug("%s did not stop cleanly: %r", actor.name, error)
        actor.kill()
        del self._draining[actor.name]

    async def follow_orphans(self, known: Callable[[], set[str]]) -> None:
        """Kill orphaned replicas periodically: ones whose start a former controller requested last.

        Args:
            known: Returns the names of the actors of all replica groups.
        """
        while True:
            await asyncio.sleep(_ORPHAN_CHECK_INTERVAL_S)
            try:
                await self._end_orphans(known)
            except Exception:  # the loop must go on, whatever the cluster answers
                log.exception("cannot list the cluster's actors")

    async def _end_orphans(self, known: Callable[[], set[str]]) -> None:
        names = await self._cluster.list_actors(self._prefix)
        # `known` is called after the listing: a replica is known before its actor exists.
        followed = known() | self._draining.keys()
        for name in [each for each in names if each not in followed]:
            actor = await self._cluster.find_actor(name)
            if actor is not None:
                log.warning("killing orphaned replica %s, started by a former controller", name)
                actor.kill()
        await self._cluster.release(self._prefix)
