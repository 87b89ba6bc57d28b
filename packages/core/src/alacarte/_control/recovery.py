"""Replicas that a former controller left: who they are, and the end of those nobody wants.

A controller may die between any two lines. What it had started lives on under names of the
instance, and that is how it is found again.
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
from .._cluster.stubs import patience_of, stub
from ..actors import Membership, NodeServiceProtocol, ReplicaInfo, ReplicaProtocol

__all__ = ["Recovery", "Survivor"]

log = logging.getLogger("alacarte.controller")
T = TypeVar("T")
_DESCRIBE_AGAIN_S = (0.0, 0.1, 0.5)
_ORPHANS_S = 30.0
"""How often to look for replicas that nobody knows."""
_DISMISS_S = 20.0


@dataclass(frozen=True)
class Survivor:
    """A replica that a former controller left, with what it says of itself."""

    actor: Actor
    started: ReplicaInfo
    membership: Membership


class Recovery:
    """Finds the replicas of an instance. Lives on the controller's loop.

    Args:
        instance: Its name.
    """

    def __init__(self, cluster: Cluster, instance: str) -> None:
        self._cluster = cluster
        self._prefix = replica_prefix(instance)
        self._services = service_prefix(instance)
        self._dismissed: dict[str, asyncio.Task[None]] = {}

    async def survivors(self) -> list[Survivor]:
        """Return the replicas that are ready or leaving.

        Those that were still starting, or do not answer, are ended: they are no use to anyone.
        """
        names = await self._cluster.list_actors(self._prefix)
        found = await asyncio.gather(*(self._described(name) for name in names))
        return [each for each in found if each is not None]

    async def _described(self, name: str) -> Survivor | None:
        async def ask(actor: Actor) -> tuple[ReplicaInfo | None, Membership]:
            replica = stub(ReplicaProtocol, actor)
            # Of one call: a process that answers either answers both.
            async with asyncio.timeout(patience_of(ReplicaProtocol.describe)):
                return await replica.describe(), await replica.membership()

        actor, answer = await self._asked(name, ask)
        if actor is None:
            return None
        if answer is None or answer[0] is None:
            actor.kill()
            return None
        return Survivor(actor, answer[0], answer[1])

    async def membership(self, survivors: Sequence[Survivor]) -> Membership | None:
        """Return what the instance's processes were handed, None when none is left that knows.

        Args:
            survivors: The replicas that are left; those few of another opinion are outvoted.
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
            # The first will do: a process that is stopped must not keep the others waiting.
            for answer in asyncio.as_completed(asking):
                found = await answer
                if found is not None:
                    return found
        finally:
            for each in asking:
                each.cancel()
        return None

    async def _membership_of(self, name: str) -> Membership | None:
        async def ask(actor: Actor) -> Membership:
            return await stub(NodeServiceProtocol, actor).membership()

        _, answer = await self._asked(name, ask)
        return answer

    async def _asked(
        self, name: str, ask: Callable[[Actor], Awaitable[T]]
    ) -> tuple[Actor | None, T | None]:
        """Return an actor and its answer, None in place of either where there is none.

        An answer may be lost on its way, which looks as if the actor had died.
        """
        actor: Actor | None = None
        for pause in _DESCRIBE_AGAIN_S:
            await asyncio.sleep(pause)
            actor = await self._cluster.find_actor(name)
            if actor is None:
                break
            with contextlib.suppress(ActorDied, TimeoutError):  # which `ActorUnresponsive` is, too
                return actor, await ask(actor)
        return actor, None

    def dismiss(self, actor: Actor) -> None:
        """Let a replica finish what it has whose deployment is not known any more; then end it."""
        self._dismissed[actor.name] = asyncio.create_task(self._dismiss(actor))

    async def _dismiss(self, actor: Actor) -> None:
        try:
            await stub(ReplicaProtocol, actor).stop(_DISMISS_S)
        except Exception as error:  # the user's destructor, say
            log.debug("%s did not stop cleanly: %r", actor.name, error)
        actor.kill()
        del self._dismissed[actor.name]

    async def follow_orphans(self, known: Callable[[], set[str]]) -> None:
        """End, now and again, what a former controller asked for with its last breath.

        Args:
            known: Returns the names of the actors that somebody follows.
        """
        while True:
            await asyncio.sleep(_ORPHANS_S)
            try:
                await self._end_orphans(known)
            except Exception:  # whatever the cluster answers, it is asked again
                log.exception("the cluster's actors are not known")

    async def _end_orphans(self, known: Callable[[], set[str]]) -> None:
        names = await self._cluster.list_actors(self._prefix)
        # After the question: a replica is known before its actor is there.
        followed = known() | self._dismissed.keys()
        for name in [each for each in names if each not in followed]:
            actor = await self._cluster.find_actor(name)
            if actor is not None:
                log.warning("%s was left behind by a former controller and is ended", name)
                actor.kill()
        await self._cluster.release(self._prefix)
