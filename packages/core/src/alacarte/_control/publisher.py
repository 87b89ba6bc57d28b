"""Publication of snapshots: one for each deployment, and the table of routes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace

from .._model.caller_options import caller_options
from .._model.deployment_spec import DeploymentSpec
from .._model.plan import Plan
from .._model.snapshots import ROUTES_KEY, deployment_key
from .._plugins import Plugins
from ..actors import (
    DeploymentSnapshot,
    RoutedDeployment,
    Snapshot,
    TableSnapshot,
    WatchRequest,
)
from ..errors import DeployError
from ..status import DeploymentStatus
from ..types import DeploymentId, Event, RouteCounter
from .first_starts import FirstStarts
from .replica_group import ReplicaGroup
from .snapshot_hub import SnapshotHub

__all__ = ["Publisher"]

log = logging.getLogger("alacarte.controller")
_ROUTES_TIMEOUT_S = 30.0
"""Time for proxies to apply new routes. A stopped process never does."""


class Publisher:
    """Publishes snapshots that differ from the last ones. Lives on the controller's loop.

    Args:
        counter: Counts calls by route.

    Attributes:
        hub: Serves the snapshots to the processes that watch them.
        routes_version: Version of the routes published last.
    """

    def __init__(self, plugins: Plugins, counter: RouteCounter) -> None:
        self.hub = SnapshotHub()
        self.routes_version = 0
        self._plugins = plugins
        self._counter = counter
        self._starts = FirstStarts()
        self._plan = Plan()
        self._routed: Mapping[DeploymentId, RoutedDeployment] = {}

    def recover(self, plan: Plan) -> None:
        """Mark the applications of a former controller as having run; see `FirstStarts`."""
        self._starts.resume(plan)

    def set_plan(self, plan: Plan) -> None:
        """Replace the plan; `publish_routes` publishes its routes."""
        self._plan = plan
        targets = {target for route in plan.routes for target in route.targets}
        self._routed = {
            deployment: RoutedDeployment(spec.version, self._options(spec))
            for deployment, spec in plan.deployments.items()
            if deployment in targets or plan.ingresses.get(deployment.app) == deployment
        }
        self._starts.set_plan(plan)

    def publish_routes(self) -> None:
        """Publish the routes and the applications that are starting for the first time."""
        current = self.hub.current(ROUTES_KEY)
        routes, starting = self._plan.routes, self._starts.take()
        table = TableSnapshot(
            0 if current is None else current.version,
            routes,
            starting,
            self._plan.ingresses,
            self._routed,
        )
        if table == current:
            return
        self._counter.keep_routes(routes)
        version = self.routes_version = self.hub.next_version()
        self.hub.publish(ROUTES_KEY, version, replace(table, version=version))
        self._plugins.on_event(Event("routes", "", str(version)))

    async def wait_routes_applied(self, version: int) -> int:
        """Wait until every proxy has applied these routes, for a limited time; return `version`."""
        try:
            async with asyncio.timeout(_ROUTES_TIMEOUT_S):
                await self.hub.wait_applied(ROUTES_KEY, version)
        except TimeoutError:
            late = self.hub.behind(ROUTES_KEY, version)
            log.warning(
                "%s %s not applied the new routes within %g s; see the log of that process, or "
                "replace it with serve.restart_services()",
                ", ".join(late),
                "has" if len(late) == 1 else "have",
                _ROUTES_TIMEOUT_S,
            )
        return version

    def check_reached(self, subject: str, version: int) -> None:
        """Check that at least one proxy has applied these routes, if any proxy runs.

        Args:
            subject: Subject of the error message, such as "application 'a'".

        Raises:
            DeployError: No proxy has applied the routes, so requests do not reach the subject.
        """
        late = self.hub.unreached(ROUTES_KEY, version)
        if late:
            raise DeployError(
                f"{subject} runs, but requests do not reach its route: {', '.join(late)} "
                f"{'has' if len(late) == 1 else 'have'} not applied the new routes within "
                f"{_ROUTES_TIMEOUT_S:g} s. See the log of that process, or replace it with "
                "serve.restart_services()."
            )

    def publish_deployment(self, group: ReplicaGroup, status: DeploymentStatus) -> None:
        """Publish the snapshot of a deployment."""
        entries = group.entries
        failed = status is DeploymentStatus.DEPLOY_FAILED and not entries
        spec = group.spec
        wanted = 0 if group.target is None else group.target.replicas
        self._starts.update(group.deployment, len(entries), wanted, failed=failed)
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

    def _options(self, spec: DeploymentSpec) -> Mapping[str, object]:
        return caller_options(spec, self._plugins.deployment_sections)

    @property
    def starts_changed(self) -> bool:
        """Whether the set of applications that start for the first time has changed."""
        return self._starts.changed

    def publish_absent(self, deployment: DeploymentId) -> None:
        """Publish that a deployment does not exist, and retire its key."""
        message = "there is no such deployment"
        self._snapshot(DeploymentSnapshot(deployment, 0, "absent", message))
        self.hub.retire(deployment_key(deployment))

    def _snapshot(self, snapshot: DeploymentSnapshot) -> None:
        key = deployment_key(snapshot.id)
        current = self.hub.current(key)
        if current is not None and replace(snapshot, version=current.version) == current:
            return
        version = self.hub.next_version()
        self.hub.publish(key, version, replace(snapshot, version=version))

    async def watch(self, request: WatchRequest) -> Mapping[str, Snapshot]:
        """Return the newer snapshots for a process; see `SnapshotHub.watch`."""
        for key in request.known:
            if self.hub.current(key) is None and key.startswith("deployment:"):
                app, _, name = key.removeprefix("deployment:").partition("#")
                self.publish_absent(DeploymentId(app, name))
        return await self.hub.watch(request)
