"""What the controller publishes: a snapshot of each deployment, and the table of routes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .._model.caller_options import caller_options
from .._model.deployment_spec import DeploymentSpec
from .._model.plan import Plan
from .._model.snapshots import ROUTES_KEY, deployment_key
from .._plugins import Plugins
from ..actors import (
    DeploymentHead,
    DeploymentSnapshot,
    Snapshot,
    TableSnapshot,
    WatchRequest,
)
from ..errors import DeployError
from ..status import DeploymentStatus
from ..types import DeploymentId, Event, RouteCounter
from .first_starts import FirstStarts
from .replica_group import ReplicaGroup
from .watch import SnapshotHub

__all__ = ["Publisher"]

log = logging.getLogger("alacarte.controller")
_SEEN_S = 30.0
"""How long to wait for proxies to take over routes; one that is stopped never does."""


class Publisher:
    """Publishes what differs from the last snapshot. Lives on the controller's loop.

    Args:
        counter: Counts the calls by routes.

    Attributes:
        hub: Answers the processes that follow the snapshots.
        routes_version: Of the routes that were published last.
    """

    def __init__(self, plugins: Plugins, counter: RouteCounter) -> None:
        self.hub = SnapshotHub()
        self.routes_version = 0
        self._plugins = plugins
        self._counter = counter
        self._starts = FirstStarts()
        self._plan = Plan()
        self._heads: Mapping[DeploymentId, DeploymentHead] = {}

    def recover(self, plan: Plan) -> None:
        """Take the applications of a former controller for ones that have run.

        Their callers wait for their replicas.
        """
        self._starts.resume(plan)

    def follow(self, plan: Plan) -> None:
        """Take over a plan, whose routes the next call of `routes` publishes."""
        self._plan = plan
        targets = {target for route in plan.routes for target in route.targets}
        self._heads = {
            deployment: DeploymentHead(spec.version, self._options(spec))
            for deployment, spec in plan.deployments.items()
            if deployment in targets or plan.ingresses.get(deployment.app) == deployment
        }
        self._starts.expand(plan)

    def routes(self) -> None:
        """Publish the routes, and which applications behind them start for the first time."""
        current = self.hub.current(ROUTES_KEY)
        routes, starting = self._plan.routes, self._starts.take()
        table = TableSnapshot(
            0 if current is None else current.version,
            routes,
            starting,
            self._plan.ingresses,
            self._heads,
        )
        if table == current:
            return
        self._counter.keep_routes(routes)
        version = self.routes_version = self.hub.next_version()
        self.hub.publish(ROUTES_KEY, version, replace(table, version=version))
        self._plugins.on_event(Event("routes", "", str(version)))

    async def routes_seen(self, version: int) -> int:
        """Return when every proxy has taken over these routes, or does not in good time."""
        try:
            async with asyncio.timeout(_SEEN_S):
                await self.hub.seen(ROUTES_KEY, version)
        except TimeoutError:
            late = self.hub.behind(ROUTES_KEY, version)
            log.warning("%s have not taken over the routes yet; are they stopped?", ", ".join(late))
        return version

    def check_reached(self, subject: str, version: int) -> None:
        """Raise where proxies run and not one of them has taken over these routes.

        Args:
            subject: What has a route among them: "application 'a'".

        Raises:
            DeployError: Requests do not reach it.
        """
        late = self.hub.unreached(ROUTES_KEY, version)
        if late:
            raise DeployError(
                f"{subject} runs, but requests do not reach its route: {', '.join(late)} "
                f"{'has' if len(late) == 1 else 'have'} not taken over the routes within "
                f"{_SEEN_S:g} s. Look into the log of that process; "
                "serve.restart_services() replaces it."
            )

    def deployment(self, group: ReplicaGroup, status: DeploymentStatus) -> None:
        """Publish the snapshot of a deployment."""
        entries = group.entries
        failed = status is DeploymentStatus.DEPLOY_FAILED and not entries
        spec = group.spec
        wanted = 0 if group.target is None else group.target.replicas
        self._starts.note(group.deployment, len(entries), wanted, failed=failed)
        self._snapshot(
            DeploymentSnapshot(
                group.deployment,
                0,
                "failed" if failed else "absent" if spec is None else "up",
                "it failed to start" if failed else "it was deleted" if spec is None else "",
                entries,
                spec.config.max_queued_requests if spec else 0,
                spec.config.policy_name if spec else "power_of_two",
                follow_load=spec is not None and bool(spec.scaling),
                code_version="" if spec is None else spec.version,
                options={} if spec is None else self._options(spec),
                policy_parameters=spec.config.policy_parameters if spec else {},
            )
        )

    def _options(self, spec: DeploymentSpec) -> Mapping[str, Any]:
        return caller_options(spec, self._plugins.deployment_sections)

    @property
    def starts_changed(self) -> bool:
        """Whether `routes` would publish other first starts than before."""
        return self._starts.changed

    def absent(self, deployment: DeploymentId) -> None:
        """Publish that there is no such deployment; forget it when nobody follows it."""
        message = "there is no such deployment"
        self._snapshot(DeploymentSnapshot(deployment, 0, "absent", message))
        self.hub.retire(deployment_key(deployment))

    def _snapshot(self, snapshot: DeploymentSnapshot) -> None:
        key = deployment_key(snapshot.id)
        current: DeploymentSnapshot | None = self.hub.current(key)
        if current is not None and replace(snapshot, version=current.version) == current:
            return
        version = self.hub.next_version()
        self.hub.publish(key, version, replace(snapshot, version=version))

    async def watch(self, request: WatchRequest) -> Mapping[str, Snapshot]:
        """Answer a process that follows snapshots; see `SnapshotHub`."""
        for key in request.known:
            if self.hub.current(key) is None and key.startswith("deployment:"):
                app, _, name = key.removeprefix("deployment:").partition("#")
                self.absent(DeploymentId(app, name))
        return await self.hub.watch(request)
