"""The controller of a running instance: the methods that drivers and processes call.

The controller is made from a complete `BootstrapResult`, so all of its parts exist from the first
call on. Every change is stored before the control loop acts on it. Requests never pass through the
controller.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from .._cluster.actor_names import instance_prefix
from .._cluster.cluster_protocol import ActorContext
from .._cluster.host_sockets import sweep_sockets
from .._model.blobs import pack, unpack
from .._model.plan import Key, Plan
from .._process.lifetime import Lifetime
from .._section_values import SectionValues
from ..actors import (
    PLUGIN_FAILURES_TOPIC,
    InstanceInfo,
    MissingBlobs,
    Snapshot,
    WatchRequest,
)
from ..errors import DeployError
from ..status import ApplicationStatus, ApplicationStatusOverview, ServeStatus
from ..types import DeploymentId, ProcessId, ProcessInfo, Resource
from .bootstrap import BootstrapResult
from .committed_state import CommittedState
from .control_loop import ControlLoop
from .deployment_status import settled
from .desired_state import DesiredState, longest_grace_s
from .instance_status import add_deleted, add_layer_failures, application_overview, routes_overview
from .lease import Lease
from .node_service_group import NodeServiceGroup
from .node_watch import NodeWatch
from .publisher import Publisher
from .report_topics import ReportTopics
from .reported_failures import ReportedFailures
from .start_gate import StartGate, max_concurrent_starts
from .storage import Storage, clear
from .validation import check_deployments, check_expected, check_plan, check_shadows

__all__ = ["Controller"]

log = logging.getLogger("alacarte.controller")
_ACTORS_GONE_TIMEOUT_S = 5.0
_ACTORS_GONE_POLL_S = 0.01
_SHUTDOWN_MARGIN_S = 10.0
"""Time for replicas to end, in addition to their requests' grace period."""


class Controller:
    """The controller of one instance. The constructor starts the control loop.

    Args:
        context: Context of the controller's actor.
        storage: Holds the stored state.
        bootstrap: Initial state of the instance.

    Attributes:
        has_ended: The instance was shut down.
    """

    def __init__(self, context: ActorContext, storage: Storage, bootstrap: BootstrapResult) -> None:
        self.has_ended = False
        plugins, membership = context.plugins, bootstrap.membership
        self._context = context
        self._plugins = plugins
        self._storage = storage
        self._bootstrap = bootstrap
        self._committed = CommittedState(storage, bootstrap.state, self._apply_committed)
        self._topics = ReportTopics.of(plugins)
        self._failures = self._topics.receiver(PLUGIN_FAILURES_TOPIC, ReportedFailures)
        process = ProcessInfo("controller", context.name, context.node.node_id)
        self._lifetime = Lifetime(
            plugins, "on_process", "the controller", process=process, runtime=None
        )
        self._publisher = Publisher(plugins, self._topics)
        gate = StartGate(context.node.cores or math.inf)
        self._loop = ControlLoop(context, bootstrap, gate, self._publisher, self._topics)
        hub = self._publisher.hub
        self._services = NodeServiceGroup(
            context.cluster, membership, plugins, hub.track, hub.untrack
        )
        self._nodes = NodeWatch(
            context.cluster,
            plugins,
            SectionValues(plugins, membership.config),
            self._services,
            self._loop.migrate,
            lambda nodes: gate.resize(max_concurrent_starts(nodes, context.node)),
            lambda: self.has_ended or self._committed.state.stopping,
        )
        self._lease = Lease(self.shutdown)
        self._following: list[asyncio.Task[None]] = []
        self._grace_s = 0.0
        others = asyncio.all_tasks()
        try:
            self._begin(bootstrap)
        except BaseException:
            # The next attempt makes another controller: this one must leave no task behind.
            self._loop.scaling.stop()
            for task in asyncio.all_tasks() - others:  # all are ours: nothing was awaited meanwhile
                task.cancel()
            raise

    def _begin(self, bootstrap: BootstrapResult) -> None:
        """Adopt the replicas of a former controller and start all loops."""
        self._loop.adopt(bootstrap, self._planned(bootstrap.state))
        self._loop.start()
        self._apply_committed()
        self._nodes.update(bootstrap.nodes)
        self._following = [
            asyncio.create_task(self._nodes.follow()),
            asyncio.create_task(self._loop.capacity.follow()),
            asyncio.create_task(bootstrap.recovery.follow_orphans(lambda: self._loop.actor_names)),
        ]
        if bootstrap.state.held:
            self._lease.renew()
        self._committed.settle_later()
        self._lifetime.begin()

    def _planned(self, state: DesiredState) -> Plan:
        return Plan.of(state.resources, self._plugins.resource_kinds, self._loop.plan)

    def _apply_committed(self) -> None:
        self._loop.apply_plan(self._planned(self._committed.state))

    # --- drivers ------------------------------------------------------------------------

    @property
    def info(self) -> InstanceInfo:
        """The values that a process needs to join the instance."""
        return InstanceInfo(
            self._bootstrap.membership.instance,
            self._bootstrap.membership.secret,
            self._committed.state.config,
            self._plugins.loaded,
            self._context.node.node_id,
        )

    async def ready(self) -> None:
        """Wait until every node service has started.

        Raises:
            ConfigError: A service cannot run with the user's options, for example because its
                port is in use.
        """
        await self._services.wait_ready()

    async def apply(
        self, change: bytes, digests: Collection[str], blobs: Mapping[str, bytes]
    ) -> list[str] | MissingBlobs:
        """Create or replace resources, all or none, and start to reconcile.

        Args:
            change: `pack` of a pair: the resources that the caller expects to be stored, by key
                (None for a free key), and the new resources.
            digests: Digests of the large byte strings in `change`.
            blobs: The byte strings that the controller may not have.

        Returns:
            The fingerprint of each resource, for `applied`; or the digests that the controller does
            not have.

        Raises:
            ConfigError: A resource conflicts with another one, or has an unknown kind.
            ConflictError: The stored resources differ from the expected ones.
            PluginError: A package that a deployment or a route needs is not installed.
            DeployError: The instance is being shut down.
        """
        async with self._committed.changing() as state:
            if state.stopping:
                raise DeployError(
                    "the instance is shutting down and accepts no changes; deploy again after the "
                    "shutdown."
                )
            known = {**self._storage.blobs, **blobs}
            if missing := frozenset(digests) - known.keys():
                return MissingBlobs(missing)
            expected: Mapping[Key, Resource | None]
            resources: Sequence[Resource]
            expected, resources = unpack(change, lambda digest, size: known[digest])
            check_expected(resources, expected, state.resources)
            for resource in resources:
                state = state.with_resource(resource, time.time())
            plan = self._planned(state)
            check_plan(plan, self._plugins.resource_kinds)
            max_bytes = state.config["cluster"]["max_bound_bytes"]
            changed = [plan.resources[resource.kind, resource.name] for resource in resources]
            for planned in changed:
                check_shadows(planned, self._plugins)
                check_deployments(planned, self._plugins, self._loop.scaling.check, max_bytes)
            await self._committed.store(state)
            self._loop.apply_plan(plan)
        return [planned.fingerprint for planned in changed]

    async def applied(self, kind: str, name: str, fingerprint: str = "") -> int:
        """Wait until a resource's deployments run and every proxy has applied its routes.

        Args:
            fingerprint: As `apply` returned it; "" for any resource of that name.

        Returns:
            The version of the routes.

        Raises:
            DeployError: A deployment does not start (the message begins with the user's own frame),
                the resource was replaced or deleted meanwhile, or no proxy has applied its route.
            ConfigError: A node service cannot run with the user's options.
        """
        key = (kind, name)
        version = self._publisher.routes_version
        while True:
            planned = self._loop.plan.resources.get(key)
            if planned is None:
                raise DeployError(f"{kind} {name!r} was deleted before it ran.")
            if fingerprint not in ("", planned.fingerprint):
                raise DeployError(
                    f"{kind} {name!r} was superseded before it ran: another driver has since "
                    "deployed a different version under this name, which is the one that runs."
                )
            overview = self._application(key)
            if settled(overview.status):
                break
            await self._loop.next_pass()
        if overview.status is ApplicationStatus.DEPLOY_FAILED:
            raise DeployError(overview.message)
        await self._services.wait_ready()
        # The deployments may have come up since the last pass, and not be published yet.
        for deployment, owner in self._loop.plan.owners.items():
            if owner == key and (group := self._loop.groups.get(deployment)) is not None:
                self._loop.publish(group)
        self._publisher.publish_routes()
        version = max(version, self._publisher.routes_version)
        await self._publisher.wait_routes_applied(version)
        if planned.prefix:
            self._publisher.check_reached(f"{kind} {name!r}", version)
        return version

    async def delete(self, kind: str, name: str) -> bool:
        """Delete a resource; return whether it existed. Its replicas drain afterwards.

        Raises:
            ConfigError: Another resource needs this one.
        """
        key = (kind, name)
        async with self._committed.changing() as state:
            if key not in state.resources:
                return False
            state = state.without(key)
            plan = self._planned(state)
            check_plan(plan, self._plugins.resource_kinds)
            await self._committed.store(state)
            self._loop.apply_plan(plan)
        return True

    async def deleted(self, kind: str, name: str) -> int:
        """Wait until a deleted resource's replicas are gone and no proxy has its routes.

        Returns:
            The version of the routes.
        """
        await self._publisher.wait_routes_applied(self._publisher.routes_version)
        while any(
            deployment.app == name and group.is_being_deleted
            for deployment, group in self._loop.groups.items()
        ):
            await self._loop.next_pass()
        return self._publisher.routes_version

    async def resources(self, kind: str) -> bytes:
        """Return `pack` of all resources of a kind, in the order of their creation."""
        found = [each for each in self._committed.state.resources.values() if each.kind == kind]
        return pack(found, self._storage.digest_of).data

    async def status(self) -> ServeStatus:
        """Return the status of applications, node services and routes."""
        plan = self._loop.plan
        applications = dict.fromkeys(plan.owners.values())
        found = {key[1]: self._application(key, details=True) for key in applications}
        for group in self._loop.groups.values():
            if group.is_being_deleted:
                add_deleted(found, group.deployment, group.full_overview)
        failures = self._failures.all(self._plugins.failures.values())
        add_layer_failures(found, failures)
        return ServeStatus(
            self._services.by_node,
            found,
            self._services.overviews,
            routes_overview(plan, self._topics.counts_of),
            failures,
        )

    def _application(self, key: Key, *, details: bool = False) -> ApplicationStatusOverview:
        plan, groups = self._loop.plan, self._loop.groups
        deployments = {
            deployment: group.full_overview if details else self._loop.refresh_status(group)
            for deployment, owner in plan.owners.items()
            if owner == key and (group := groups.get(deployment)) is not None
        }
        return application_overview(
            deployments,
            self._loop.scaling.problem,
            self._committed.state.deployed_at.get(key, 0.0),
            plan.resources[key].prefix,
        )

    async def renew_lease(self) -> None:
        """Renew the lease of the calling driver; the instance shuts down when the lease expires."""
        async with self._committed.changing() as state:
            if state.stopping:
                return
            if not state.held:
                await self._committed.store(replace(state, held=True))
        self._lease.renew()

    async def restart_services(self, service: str, drain_s: float) -> None:
        """Replace each process of a node service; see `NodeServiceGroup.restart`."""
        await self._services.restart(service, drain_s)

    # --- processes ----------------------------------------------------------------------

    async def deployments_of(self, app: str) -> tuple[DeploymentId, ...]:
        """Return an application's deployments, its ingress first; () for an unknown application."""
        found = [deployment for deployment in self._loop.plan.deployments if deployment.app == app]
        # Callees stand before callers, so the ingress is the last.
        return tuple(reversed(found))

    async def watch(self, request: WatchRequest) -> Mapping[str, Snapshot]:
        """Wait for snapshots that a process does not have, and return them; see `SnapshotHub`."""
        return await self._publisher.watch(request)

    async def report(
        self, process: ProcessId, number: int, values: Mapping[str, bytes]
    ) -> frozenset[str]:
        """Store a process's latest values by topic; return the topics that have its value."""
        return self._topics.report(process, number, values)

    async def suspect(
        self, process: str, deployment: DeploymentId, replica_id: str, reason: str
    ) -> None:
        """Probe a replica that does not answer the given process."""
        group = self._loop.groups.get(deployment)
        if group is not None:
            log.info("%s suspects replica %s: %s", process, replica_id, reason)
            group.suspect(replica_id)

    # --- the end ------------------------------------------------------------------------

    async def shutdown(self) -> None:
        """Stop every process of the instance but this one, and delete the stored state."""
        async with self._committed.changing() as state:
            # Before the plan is emptied: a second caller must wait as long as the first.
            self._grace_s = max(self._grace_s, longest_grace_s(self._loop.plan))
            empty = DesiredState(state.instance, state.config, state.withheld)
            await self._committed.store(replace(empty, stopping=True))
            for task in self._following:
                task.cancel()
            self._committed.close()
            self._lease.close()
            # Node services first: requests that they have accepted still need the replicas.
            await self._services.stop()
            self._apply_committed()
        try:
            async with asyncio.timeout(self._grace_s + _SHUTDOWN_MARGIN_S):
                while self._loop.groups:
                    await self._loop.next_pass()
        except TimeoutError:
            log.warning(
                "replicas of %s did not stop within %.0f s and are killed",
                ", ".join(map(str, self._loop.groups)),
                self._grace_s + _SHUTDOWN_MARGIN_S,
            )
        self._topics.close()
        await self._loop.stop()
        await self._lifetime.end()
        await self._wait_actors_gone()
        await self._context.cluster.release(instance_prefix(state.instance))
        # Killed replicas could not remove their sockets.
        sweep_sockets(self._context.socket_dir)
        await clear(self._context.cluster)
        self.has_ended = True
        self._following = [asyncio.create_task(self._end_itself())]

    async def _wait_actors_gone(self) -> None:
        """Wait until the cluster lists no actor of the instance, for a few seconds at most.

        A kill is an asynchronous request, and the driver kills this process next: a request that is
        still pending then might never be sent.
        """
        prefix = instance_prefix(self._bootstrap.membership.instance)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ACTORS_GONE_TIMEOUT_S):
                while await self._context.cluster.list_actors(prefix):  # noqa: ASYNC110  no event to wait for
                    await asyncio.sleep(_ACTORS_GONE_POLL_S)

    async def _end_itself(self) -> None:
        """End this process, in case the driver that requested the shutdown is gone."""
        await asyncio.sleep(_ACTORS_GONE_TIMEOUT_S)
        actor = await self._context.cluster.find_actor(self._context.name)
        if actor is not None:
            actor.kill()
