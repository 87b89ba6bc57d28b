"""The controller of a running instance: what drivers and processes may ask of it.

The controller is made from a complete `BootstrapResult`, so each of its parts exists from the first
call on. Every change is stored before the control loop acts on it. Requests
never pass through here.
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
from .._cluster.host import sweep_sockets
from .._model.blobs import pack, unpack
from .._model.plan import Key, Plan
from .._process.lifetime import Lifetime
from .._settings import SectionValues
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
from .committed import CommittedState
from .control_loop import ControlLoop
from .desired_state import DesiredState, longest_grace_s
from .lease import Lease
from .node_watch import NodeWatch
from .overview import add_layer_failures, add_leaving, application_overview, routes_overview
from .publisher import Publisher
from .report_topics import ReportTopics
from .reported_failures import ReportedFailures
from .service_group import ServiceGroup
from .start_gate import StartGate, starts_at_once
from .storage import Storage, clear
from .summary import settled
from .validation import check_deployments, check_expected, check_plan, check_shadows

__all__ = ["Controller"]

log = logging.getLogger("alacarte.controller")
_GONE_S = 5.0
_GONE_POLL_S = 0.01
_SHUTDOWN_S = 10.0
"""For replicas to end, beyond what their requests may take."""


class Controller:
    """The controller of one instance; it works as soon as it is made.

    Args:
        context: Of its actor.
        storage: Holds the stored state.
        foundation: What is known of the instance.

    Attributes:
        has_ended: The instance was shut down.
    """

    def __init__(
        self, context: ActorContext, storage: Storage, foundation: BootstrapResult
    ) -> None:
        self.has_ended = False
        plugins, membership = context.plugins, foundation.membership
        self._context = context
        self._plugins = plugins
        self._storage = storage
        self._foundation = foundation
        self._committed = CommittedState(storage, foundation.state, self._pursue_committed)
        self._topics = ReportTopics.of(plugins)
        self._failures = self._topics.receiver(PLUGIN_FAILURES_TOPIC, ReportedFailures)
        process = ProcessInfo("controller", context.name, context.node.node_id)
        self._lifetime = Lifetime(
            plugins, "on_process", "the controller", process=process, runtime=None
        )
        self._publisher = Publisher(plugins, self._topics)
        gate = StartGate(context.node.cores or math.inf)
        self._loop = ControlLoop(context, foundation, gate, self._publisher, self._topics)
        hub = self._publisher.hub
        self._services = ServiceGroup(context.cluster, membership, plugins, hub.track, hub.untrack)
        self._nodes = NodeWatch(
            context.cluster,
            plugins,
            SectionValues(plugins, membership.config),
            self._services,
            self._loop.migrate,
            lambda nodes: gate.resize(starts_at_once(nodes, context.node)),
            lambda: self.has_ended or self._committed.state.stopping,
        )
        self._lease = Lease(self.shutdown)
        self._following: list[asyncio.Task[None]] = []
        self._grace_s = 0.0
        others = asyncio.all_tasks()
        try:
            self._begin(foundation)
        except BaseException:
            # The next attempt makes another controller, beside which this one must do nothing.
            self._loop.scaling.stop()
            for task in asyncio.all_tasks() - others:  # begun here: nothing was awaited meanwhile
                task.cancel()
            raise

    def _begin(self, foundation: BootstrapResult) -> None:
        """Begin to work, with the replicas that a former controller left."""
        self._loop.adopt(foundation, self._planned(foundation.state))
        self._loop.start()
        self._pursue_committed()
        self._nodes.see(foundation.nodes)
        self._following = [
            asyncio.create_task(self._nodes.follow()),
            asyncio.create_task(self._loop.capacity.follow()),
            asyncio.create_task(foundation.recovery.follow_orphans(lambda: self._loop.actor_names)),
        ]
        if foundation.state.held:
            self._lease.renew()
        self._committed.settle_later()
        self._lifetime.begin()

    def _planned(self, state: DesiredState) -> Plan:
        return Plan.of(state.resources, self._plugins.resource_kinds, self._loop.plan)

    def _pursue_committed(self) -> None:
        self._loop.pursue(self._planned(self._committed.state))

    # --- drivers ------------------------------------------------------------------------

    @property
    def info(self) -> InstanceInfo:
        """What a process needs to join the instance."""
        return InstanceInfo(
            self._foundation.membership.instance,
            self._foundation.membership.secret,
            self._committed.state.config,
            self._plugins.loaded,
            self._context.node.node_id,
        )

    async def ready(self) -> None:
        """Return when every node service has come up.

        Raises:
            ConfigError: One was refused what the user asked for, such as its port.
        """
        await self._services.settled()

    async def apply(
        self, change: bytes, digests: Collection[str], blobs: Mapping[str, bytes]
    ) -> list[str] | MissingBlobs:
        """Store resources in place of those of their names, and begin to act on them; all or none.

        Args:
            change: `pack` of the resources that are expected under some of the names (None for
                nothing), and of the resources.
            digests: Of the large byte strings in it.
            blobs: Those that the caller does not expect to be here.

        Returns:
            The fingerprint of each resource, for `applied`; or which of `digests` are not here.

        Raises:
            ConfigError: One cannot exist beside the others, or nobody knows its kind.
            ConflictError: Something else is stored than was expected.
            PluginError: A package that a deployment or a route needs is not installed.
            DeployError: The instance is being shut down.
        """
        async with self._committed.changing() as state:
            if state.stopping:
                raise DeployError(
                    "the instance is being shut down, and takes no more applications; deploy "
                    "again once it has ended."
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
            self._loop.pursue(plan)
        return [planned.fingerprint for planned in changed]

    async def applied(self, kind: str, name: str, fingerprint: str = "") -> int:
        """Return when a resource's deployments run and every proxy knows its routes.

        Args:
            fingerprint: As `apply` returned it; "" for whatever is applied under that name.

        Returns:
            The version of the routes.

        Raises:
            DeployError: A deployment does not start; the user's own frame comes first. Or
                somebody else has deployed something else under this name. Or no proxy has taken
                over its route.
            ConfigError: A node service was refused what the user asked for.
        """
        key = (kind, name)
        version = self._publisher.routes_version
        while True:
            planned = self._loop.plan.resources.get(key)
            if planned is None:
                raise DeployError(f"{kind} {name!r} was deleted before it ran.")
            if fingerprint not in ("", planned.fingerprint):
                raise DeployError(
                    f"{kind} {name!r} was superseded before it ran: somebody has deployed "
                    "something else under this name since, and that counts."
                )
            overview = self._application(key)
            if settled(overview.status):
                break
            await self._loop.next_turn()
        if overview.status is ApplicationStatus.DEPLOY_FAILED:
            raise DeployError(overview.message)
        await self._services.settled()
        # Its deployments may have come up in this very turn, before anybody was told.
        for deployment, owner in self._loop.plan.owners.items():
            if owner == key and (group := self._loop.groups.get(deployment)) is not None:
                self._loop.publish(group)
        self._publisher.routes()
        version = max(version, self._publisher.routes_version)
        await self._publisher.routes_seen(version)
        if planned.prefix:
            self._publisher.check_reached(f"{kind} {name!r}", version)
        return version

    async def delete(self, kind: str, name: str) -> bool:
        """Remove a resource; return whether there was one. Its replicas drain meanwhile.

        Raises:
            ConfigError: Another resource needs it.
        """
        key = (kind, name)
        async with self._committed.changing() as state:
            if key not in state.resources:
                return False
            state = state.without(key)
            plan = self._planned(state)
            check_plan(plan, self._plugins.resource_kinds)
            await self._committed.store(state)
            self._loop.pursue(plan)
        return True

    async def deleted(self, kind: str, name: str) -> int:
        """Return when nothing is left of a deleted resource, and no proxy knows it.

        Returns:
            The version of the routes.
        """
        await self._publisher.routes_seen(self._publisher.routes_version)
        while any(
            deployment.app == name and group.is_leaving
            for deployment, group in self._loop.groups.items()
        ):
            await self._loop.next_turn()
        return self._publisher.routes_version

    async def resources(self, kind: str) -> bytes:
        """Return `pack` of all resources of a kind, in the order they were made in."""
        found = [each for each in self._committed.state.resources.values() if each.kind == kind]
        return pack(found, self._storage.digest_of).data

    async def status(self) -> ServeStatus:
        """Return the status of everything."""
        plan = self._loop.plan
        applications = dict.fromkeys(plan.owners.values())
        found = {key[1]: self._application(key, details=True) for key in applications}
        for group in self._loop.groups.values():
            if group.is_leaving:
                add_leaving(found, group.deployment, group.overview)
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
            deployment: group.overview if details else self._loop.refresh(group)
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
        """End with the calling process, soon after its last call."""
        async with self._committed.changing() as state:
            if state.stopping:
                return
            if not state.held:
                await self._committed.store(replace(state, held=True))
        self._lease.renew()

    async def restart_services(self, service: str, drain_s: float) -> None:
        """Put a successor in the place of each process of a node service; see `ServiceGroup`."""
        await self._services.restart(service, drain_s)

    # --- processes ----------------------------------------------------------------------

    async def deployments_of(self, app: str) -> tuple[DeploymentId, ...]:
        """Return an application's deployments, its ingress first; () for none such."""
        found = [deployment for deployment in self._loop.plan.deployments if deployment.app == app]
        # Callees stand before callers, so the ingress is the last.
        return tuple(reversed(found))

    async def watch(self, request: WatchRequest) -> Mapping[str, Snapshot]:
        """Answer when there are snapshots newer than those a process knows; see `SnapshotHub`."""
        return await self._publisher.watch(request)

    async def report(
        self, process: ProcessId, number: int, values: Mapping[str, bytes]
    ) -> frozenset[str]:
        """Take a process's latest values by topic; return the topics of those held here."""
        return self._topics.report(process, number, values)

    async def suspect(
        self, process: str, deployment: DeploymentId, replica_id: str, reason: str
    ) -> None:
        """Find out whether a replica answers from which a process hears nothing."""
        group = self._loop.groups.get(deployment)
        if group is not None:
            log.info("%s suspects replica %s: %s", process, replica_id, reason)
            group.suspect(replica_id)

    # --- the end ------------------------------------------------------------------------

    async def shutdown(self) -> None:
        """Stop everything this instance runs, and forget it. The controller itself is left."""
        async with self._committed.changing() as state:
            # Before they are let go. A second caller finds none left, and waits as long.
            self._grace_s = max(self._grace_s, longest_grace_s(self._loop.plan))
            empty = DesiredState(state.instance, state.config, state.withheld)
            await self._committed.store(replace(empty, stopping=True))
            for task in self._following:
                task.cancel()
            self._committed.close()
            self._lease.close()
            # Requests that were accepted still reach their replicas.
            await self._services.stop()
            self._pursue_committed()
        try:
            async with asyncio.timeout(self._grace_s + _SHUTDOWN_S):
                while self._loop.groups:
                    await self._loop.next_turn()
        except TimeoutError:
            log.warning("some replicas did not stop in time and were killed")
        self._topics.close()
        await self._loop.stop()
        await self._lifetime.end()
        await self._wait_gone()
        await self._context.cluster.release(instance_prefix(state.instance))
        # Replicas that were killed could not remove theirs.
        sweep_sockets(self._context.socket_dir)
        await clear(self._context.cluster)
        self.has_ended = True
        self._following = [asyncio.create_task(self._end_itself())]

    async def _wait_gone(self) -> None:
        """Return when the cluster knows none of the instance's actors any more.

        To kill one is to ask for it, and whoever asked for this shutdown will end the controller
        next: what it has asked for until then might never be sent.
        """
        prefix = instance_prefix(self._foundation.membership.instance)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GONE_S):
                while await self._context.cluster.list_actors(prefix):  # noqa: ASYNC110  it tells nobody
                    await asyncio.sleep(_GONE_POLL_S)

    async def _end_itself(self) -> None:
        """End this process, if whoever asked for the shutdown does not: it may be gone."""
        await asyncio.sleep(_GONE_S)
        me = await self._context.cluster.find_actor(self._context.name)
        if me is not None:
            me.kill()
