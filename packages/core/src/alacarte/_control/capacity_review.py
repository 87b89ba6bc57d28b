"""Reports deployments that cannot fit into the cluster, however long they wait.

Only more nodes or smaller requests help, and either may come at any time. So no deployment is
refused: the log and the status report the requested and the existing resources.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from .._cluster.cluster_protocol import ActorDied, ActorSpec, Capacity, Cluster, ClusterUnresponsive
from ..types import DeploymentId
from .shortage import ResourceRequest, describe_oversized, describe_totals, remedy

__all__ = ["CapacityReview", "judge_capacity"]

log = logging.getLogger("alacarte.controller")
_RECHECK_INTERVAL_S = 10.0
"""Interval of reviews while a deployment does not fit: a node may have joined."""

Demand = Mapping[DeploymentId, tuple[ActorSpec, int]]
"""By deployment: the actor of one replica, and the number of replicas."""


def judge_capacity(demand: Demand, capacity: Capacity) -> dict[DeploymentId, str]:
    """Return a message with a remedy for each deployment that does not fit."""
    requests = {
        deployment: ResourceRequest(deployment.app, capacity.requests[str(deployment)], count)
        for deployment, (_, count) in demand.items()
        if str(deployment) in capacity.requests
    }
    found: dict[DeploymentId, str] = {}
    for deployment in requests:
        short = capacity.oversized.get(str(deployment))
        if short:
            found[deployment] = f"{describe_oversized(str(deployment), short)} {remedy([*short])}"
    # A replica that is too large by itself also makes the sum too large: one message is enough.
    fitting = {str(each): request for each, request in requests.items() if each not in found}
    totals = {
        name: (asked, total)
        for name, (asked, total) in capacity.totals.items()
        if sum(request.total(name) for request in fitting.values()) > total
    }
    for name, sentence in zip(totals, describe_totals(fitting, totals), strict=True):
        text = f"{sentence} {remedy([name], several=not name.startswith('room for '))}"
        for deployment, request in requests.items():
            if request.resources.get(name):
                found.setdefault(deployment, text)
    return found


class CapacityReview:
    """Compares the resources of all deployments with the cluster's. Lives on the controller's loop.

    Args:
        cluster: Source of the cluster's capacity.
        demand: Returns the current demand.
        report: Called with the message of each deployment that does not fit; {} when all fit.
    """

    def __init__(
        self,
        cluster: Cluster,
        demand: Callable[[], Demand],
        report: Callable[[Mapping[DeploymentId, str]], None],
    ) -> None:
        self._cluster = cluster
        self._demand = demand
        self._report = report
        self._logged: frozenset[str] = frozenset()
        self._changed = asyncio.Event()
        self._findings: dict[DeploymentId, str] = {}

    def changed(self) -> None:
        """Request a review: the demand has changed."""
        self._changed.set()

    async def follow(self) -> None:
        """Review after every change, and periodically while a deployment does not fit."""
        while True:
            try:
                async with asyncio.timeout(_RECHECK_INTERVAL_S if self._findings else None):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            try:
                await self.review()
            except (ActorDied, ClusterUnresponsive) as error:
                log.debug("cannot read the cluster's capacity: %s", error)
            except Exception:  # the loop must go on, whatever the cluster answers
                log.exception("cannot read the cluster's capacity")

    async def review(self) -> None:
        """Compare demand and capacity once, and log each new message."""
        demand = self._demand()
        keyed = {str(deployment): each for deployment, each in demand.items()}
        capacity = await self._cluster.capacity(keyed)
        self._findings = judge_capacity(demand, capacity)
        texts = frozenset(self._findings.values())
        level = logging.INFO if capacity.is_autoscaled else logging.WARNING
        for text in dict.fromkeys(self._findings.values()):
            if text not in self._logged:
                log.log(level, "%s", text)
        self._logged = texts
        self._report(self._findings)
