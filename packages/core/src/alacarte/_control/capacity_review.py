"""Says at once when what is deployed cannot fit into the cluster, however long it waits.

Only adding nodes or asking for less helps then, and either may happen at any time. So nothing is
refused: the log and the status say what is asked for and what there is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from .._cluster.cluster_protocol import ActorDied, ActorSpec, Capacity, Cluster, ClusterUnresponsive
from ..types import DeploymentId
from .shortage import Ask, describe_oversized, describe_totals, remedy

__all__ = ["CapacityReview", "judge_capacity"]

log = logging.getLogger("alacarte.controller")
_AGAIN_S = 10.0
"""How often a cluster that is too small is looked at again: a node may have come."""

Wanted = Mapping[DeploymentId, tuple[ActorSpec, int]]


def judge_capacity(wanted: Wanted, capacity: Capacity) -> dict[DeploymentId, str]:
    """Return what is wrong with deployments that do not fit, each in a sentence and a remedy."""
    asks = {
        deployment: Ask(deployment.app, capacity.asks[str(deployment)], count)
        for deployment, (_, count) in wanted.items()
        if str(deployment) in capacity.asks
    }
    found: dict[DeploymentId, str] = {}
    for deployment in asks:
        short = capacity.oversized.get(str(deployment))
        if short:
            found[deployment] = f"{describe_oversized(str(deployment), short)} {remedy([*short])}"
    # A replica that is too large by itself makes the sum too large, which goes without saying.
    fitting = {str(each): ask for each, ask in asks.items() if each not in found}
    totals = {
        name: (asked, total)
        for name, (asked, total) in capacity.totals.items()
        if sum(ask.total(name) for ask in fitting.values()) > total
    }
    for name, sentence in zip(totals, describe_totals(fitting, totals), strict=True):
        text = f"{sentence} {remedy([name], several=not name.startswith('room for '))}"
        for deployment, ask in asks.items():
            if ask.resources.get(name):
                found.setdefault(deployment, text)
    return found


class CapacityReview:
    """Compares what is deployed with what the cluster has. Lives on the controller's loop.

    Args:
        cluster: Knows what it has.
        wanted: Returns what is wanted now: by deployment, an actor and how many of its kind.
        tell: Told of all deployments that do not fit, and why; {} when all fit again.
    """

    def __init__(
        self,
        cluster: Cluster,
        wanted: Callable[[], Wanted],
        tell: Callable[[Mapping[DeploymentId, str]], None],
    ) -> None:
        self._cluster = cluster
        self._wanted = wanted
        self._tell = tell
        self._said: frozenset[str] = frozenset()
        self._changed = asyncio.Event()
        self._found: dict[DeploymentId, str] = {}

    def changed(self) -> None:
        """What is wanted is not the same as before."""
        self._changed.set()

    async def follow(self) -> None:
        """Look after every change, and again and again as long as something does not fit."""
        while True:
            try:
                async with asyncio.timeout(_AGAIN_S if self._found else None):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            try:
                await self.look()
            except (ActorDied, ClusterUnresponsive) as error:
                log.debug("the cluster's size is not known: %s", error)
            except Exception:  # whatever the cluster answers, it is asked again
                log.exception("the cluster's size is not known")

    async def look(self) -> None:
        """Compare once; log what has not been said of this change."""
        wanted = self._wanted()
        keyed = {str(deployment): each for deployment, each in wanted.items()}
        capacity = await self._cluster.capacity(keyed)
        self._found = judge_capacity(wanted, capacity)
        texts = frozenset(self._found.values())
        level = logging.INFO if capacity.grows else logging.WARNING
        for text in dict.fromkeys(self._found.values()):
            if text not in self._said:
                log.log(level, "%s", text)
        self._said = texts
        self._tell(self._found)
