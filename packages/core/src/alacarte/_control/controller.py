"""The controller: holds what users asked for, and makes it so.

One actor for each instance. Every change is stored before it is acted on. It decides nothing
itself: resources are expanded by their kinds, replicas come and go by `reconcile`, and what it has
to say is published as snapshots. Requests never pass through it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .._cluster.host import sweep_sockets
from .._cluster.protocol import ActorContext, ActorDied, ActorSpec, ClusterSilent
from .._model.blobs import pack, unpack
from .._model.plan import Key, Plan
from .._model.snapshots import ROUTES_KEY, deployment_key
from .._model.specs import DeploymentSpec
from .._model.tallies import split_key
from .._plugins import PluginRecord
from .._settings import ConfigValues
from ..actors import (
    DeploymentSnapshot,
    InstanceInfo,
    LoadReport,
    Membership,
    MissingBlobs,
    Snapshot,
    SplitReport,
    WatchRequest,
)
from ..errors import ConfigError, DeployError, InternalError
from ..status import (
    ApplicationStatus,
    ApplicationStatusOverview,
    DeploymentStatus,
    DeploymentStatusOverview,
    ReplicaState,
    ServeStatus,
)
from ..types import DeploymentId, Event, Resource, RouteTable
from .autoscaling import Autoscaling
from .capacity import CapacityReview
from .desired import State, callers_of, longest_grace_s
from .first_starts import FirstStarts
from .founding import Uninformed, new_instance, renewed_membership
from .lease import Lease
from .looks import Looks
from .nodes import Nodes
from .overview import add_leaving, application_overview, routes_overview
from .recovery import Recovery, Survivor
from .replicas import ReplicaGroup, instance_prefix
from .services import ServiceGroup
from .start_gate import StartGate, starts_at_once
from .storage import Storage, clear
from .summary import settled
from .tallies import Tallies
from .validation import check_deployments, check_expected, check_plan
from .watch import SnapshotHub

__all__ = ["Controller"]

log = logging.getLogger("alacarte.controller")
_GONE_S = 5.0
_SETTLE_S = 1.0
_GONE_LOOK_S = 0.01
_SEEN_S = 30.0
"""How long to wait for proxies to take over routes; one that is stopped never does."""
_SHUTDOWN_S = 10.0
"""For replicas to end, beyond what their requests may take."""


class Controller:
    """The controller of one instance. Made and called through the cluster.

    It is made without arguments: the cluster would store them, secrets and all.
    """

    def __init__(self, context: ActorContext) -> None:
        self._context = context
        self._plugins = context.plugins
        self._records: tuple[PluginRecord, ...] = context.plugins.loaded
        self._storage = Storage(context.cluster)
        self._state = State("")
        self._membership: Membership | None = None
        self._plan = Plan()
        self._groups: dict[DeploymentId, ReplicaGroup] = {}
        self._services: ServiceGroup | None = None
        self._scaling: Autoscaling | None = None
        self._hub = SnapshotHub()
        self._looks = Looks()
        self._gate = StartGate(context.node.cores or math.inf)
        self._tallies = Tallies()
        self._lease = Lease(self.shutdown)
        self._capacity = CapacityReview(context.cluster, self._wanted_places, self._note_capacity)
        self._callers: dict[DeploymentId, frozenset[DeploymentId]] = {}
        self._turn = asyncio.Event()
        self._changes = asyncio.Lock()
        self._loop: asyncio.Task[None] | None = None
        self._following: list[asyncio.Task[None]] = []
        self._settling: asyncio.Task[None] | None = None
        self._routes_version = 0
        self._starts = FirstStarts()
        self._grace_s = 0.0
        self._is_up = False
        self._ended = False

    # --- called by drivers --------------------------------------------------------------

    async def begin(self, config: Mapping[str, Any] | None = None) -> InstanceInfo | None:
        """Start working, or go on; return what a process needs to join the instance.

        Args:
            config: To start an instance with, where none is stored; and the secrets that an
                instance has lost with its last process. None to join one.

        Returns:
            None where no instance is stored.

        Raises:
            ConfigError: The instance has lost secrets, and `config` does not have them.
        """
        try:
            await self._started(config)
        except Uninformed as error:
            if self._storage.state is None:
                return None
            raise ConfigError(str(error)) from None
        assert self._membership is not None
        return InstanceInfo(
            self._membership.instance,
            self._membership.secret,
            self._state.config,
            self._records,
            self._context.node.node_id,
        )

    async def _started(self, config: Mapping[str, Any] | None = None) -> None:
        """Take up the stored state and what runs of it already. Once; every method asks."""
        if self._ended:
            raise ActorDied("the instance was shut down")
        if self._working():
            return
        async with self._changes:
            if self._working():
                return
            sweep_sockets(self._context.socket_dir)
            stored = await self._storage.load()
            if stored is None:
                # Before it is stored: when the answer is lost, the next try keeps this secret.
                self._membership, state = new_instance(self._plugins, config)
                await self._store(state)
            else:
                # A shutdown that its controller did not survive is asked for again, or given up.
                self._state = replace(stored, stopping=False)
            recovery = Recovery(self._context.cluster, self._state.instance)
            survivors: list[Survivor] = []
            if stored is not None and self._loop is None:
                survivors = await recovery.survivors()
            membership = self._membership
            if membership is None or membership.instance != self._state.instance:
                membership = await recovery.membership(survivors)
            if membership is None:
                membership = renewed_membership(self._plugins, self._state, config)
            self._membership = membership
            # Each once: the cluster may fail us further down, and then all of this is tried again.
            if self._services is None:
                self._services = ServiceGroup(
                    self._context.cluster,
                    membership,
                    self._records,
                    self._hub.track,
                    self._hub.untrack,
                )
            if self._scaling is None:
                scaling = Autoscaling(
                    self._context.cluster,
                    self._plugins,
                    self._records,
                    instance_prefix(self._state.instance),
                    self._scale,
                )
                await scaling.load(resumed=stored is not None)
                self._scaling = scaling
            self._plan = self._planned(self._state)
            if self._loop is None:
                self._adopt(recovery, survivors)
                if stored is not None:
                    # Whoever asks for one that is recovered waits for its replicas.
                    self._starts.resume(self._plan)
                self._loop = asyncio.create_task(self._run())
            self._expand(self._plan)
            nodes = Nodes(
                self._context.cluster,
                self._plugins,
                ConfigValues(self._plugins, membership.config),
                self._services,
                self._call_away,
                lambda nodes: self._gate.resize(starts_at_once(nodes, self._context.node)),
                lambda: self._ended or self._state.stopping,
            )
            await nodes.look()
            self._following = [
                asyncio.create_task(nodes.follow()),
                asyncio.create_task(self._capacity.follow()),
                asyncio.create_task(recovery.follow_orphans(self._actor_names)),
            ]
            if self._state.held:
                self._lease.renew()
            self._settle_later()
            # Last: whoever asks meanwhile waits, and does not find half of it.
            self._is_up = True

    def _working(self) -> bool:
        return self._is_up

    def _adopt(self, recovery: Recovery, survivors: Sequence[Survivor]) -> None:
        """Take in the replicas that a former controller of this instance left running."""
        assert self._membership is not None
        for each in survivors:
            spec = self._plan.deployments.get(each.started.deployment)
            if spec is None or each.membership.secret != self._membership.secret:
                # Nobody wants it any more, but its last requests may be under way.
                recovery.dismiss(each.actor)
                continue
            group = self._groups.get(spec.id)
            if group is None:
                group = self._groups[spec.id] = self._group(spec.id)
                self._want(group, spec)
            group.adopt(each.actor, each.started)
        for group in self._groups.values():
            self._publish(group, self._look(group).status)

    async def ready(self) -> None:
        """Return when every node service has come up.

        Raises:
            ConfigError: One was refused what the user asked for, such as its port.
        """
        await self._started()
        assert self._services is not None
        await self._services.settled()

    async def apply(
        self, change: bytes, digests: Collection[str], blobs: Mapping[str, bytes]
    ) -> list[str] | MissingBlobs:
        """Store resources in place of those of their names, and begin to make it so; all or none.

        Args:
            change: What `pack` makes of what is thought to be there by some of their names (None
                for nothing), and of the resources.
            digests: Of the large byte strings in it.
            blobs: Those that the caller does not expect to be here.

        Returns:
            What `applied` takes to know each of them again; or what is not here of `digests`.

        Raises:
            ConfigError: One cannot exist beside the others, or nobody knows its kind.
            ConflictError: Something else is there than was thought.
            DeployError: The instance is being shut down.
        """
        await self._started()
        async with self._changes:
            await self._settle()
            if self._state.stopping:
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
            state = self._state
            check_expected(resources, expected, state.resources)
            for resource in resources:
                state = state.with_resource(resource, time.time())
            plan = self._planned(state)
            check_plan(plan, self._plugins.resource_kinds)
            max_bytes = state.config["cluster"]["max_bound_bytes"]
            changed = [plan.resources[resource.kind, resource.name] for resource in resources]
            for planned in changed:
                check_deployments(planned, self._plugins, max_bytes)
            await self._store(state)
            self._expand(plan)
        return [planned.fingerprint for planned in changed]

    async def applied(self, kind: str, name: str, fingerprint: str = "") -> int:
        """Return when a resource's deployments run and every proxy knows its routes.

        Args:
            fingerprint: As `apply` returned it; "" for whatever is applied under that name.

        Returns:
            The version of the routes.

        Raises:
            DeployError: A deployment does not start; the user's own frame comes first. Or
                somebody else has deployed something else under this name.
            ConfigError: A node service was refused what the user asked for.
        """
        await self._started()
        key = (kind, name)
        version = self._routes_version
        while True:
            planned = self._plan.resources.get(key)
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
            await self._next_turn()
        if overview.status is ApplicationStatus.DEPLOY_FAILED:
            raise DeployError(overview.message)
        await self.ready()
        # Its deployments may have come up in this very turn, before anybody was told.
        for deployment, owner in self._plan.owners.items():
            if owner == key and (group := self._groups.get(deployment)) is not None:
                self._publish(group, self._look(group).status)
        self._publish_routes()
        return await self._routes_seen(max(version, self._routes_version))

    async def _routes_seen(self, version: int) -> int:
        """Return when every proxy has taken over these routes, or does not in good time."""
        try:
            async with asyncio.timeout(_SEEN_S):
                await self._hub.seen(ROUTES_KEY, version)
        except TimeoutError:
            late = self._hub.behind(ROUTES_KEY, version)
            log.warning("%s have not taken over the routes yet; are they stopped?", ", ".join(late))
        return version

    async def delete(self, kind: str, name: str) -> bool:
        """Remove a resource; return whether there was one. Its replicas drain meanwhile.

        Raises:
            ConfigError: Another resource needs it.
        """
        await self._started()
        key = (kind, name)
        async with self._changes:
            await self._settle()
            if key not in self._state.resources:
                return False
            state = self._state.without(key)
            plan = self._planned(state)
            check_plan(plan, self._plugins.resource_kinds)
            await self._store(state)
            self._expand(plan)
        return True

    async def deleted(self, kind: str, name: str) -> int:
        """Return when nothing is left of a resource that was deleted, and no proxy knows it.

        Returns:
            The version of the routes.
        """
        await self._started()
        await self._routes_seen(self._routes_version)
        while any(
            deployment.app == name and _is_going(group)
            for deployment, group in self._groups.items()
        ):
            await self._next_turn()
        return self._routes_version

    async def resources(self, kind: str) -> bytes:
        """Return what `pack` makes of all resources of a kind, in the order they were made in."""
        await self._started()
        found = [each for each in self._state.resources.values() if each.kind == kind]
        return pack(found, self._storage.digest_of).data

    async def deployments_of(self, app: str) -> tuple[DeploymentId, ...]:
        """Return an application's deployments, its ingress first; () for none such."""
        await self._started()
        found = [deployment for deployment in self._plan.deployments if deployment.app == app]
        # Callees stand before callers, so the ingress is the last.
        return tuple(reversed(found))

    async def status(self) -> ServeStatus:
        """Return how everything is doing."""
        await self._started()
        assert self._services is not None
        applications = dict.fromkeys(self._plan.owners.values())
        found = {key[1]: self._application(key, details=True) for key in applications}
        for group in self._groups.values():
            if _is_going(group):
                add_leaving(found, group.deployment, group.overview)
        return ServeStatus(
            self._services.by_node,
            found,
            self._services.overviews,
            routes_overview(self._plan, self._tallies),
        )

    async def hold(self) -> None:
        """End with the process that calls this, soon after it has not called again."""
        await self._started()
        async with self._changes:
            await self._settle()
            if self._state.stopping:
                return
            if not self._state.held:
                await self._store(replace(self._state, held=True))
        self._lease.renew()

    async def restart_services(self, service: str, drain_s: float) -> None:
        """Put a successor in the place of each process of a node service; see `ServiceGroup`."""
        await self._started()
        assert self._services is not None
        await self._services.restart(service, drain_s)

    async def watch(self, request: WatchRequest) -> Mapping[str, Snapshot]:
        """Answer when there are snapshots newer than those a process knows; see `SnapshotHub`."""
        await self._started()
        for key in request.known:
            if self._hub.current(key) is None and key.startswith("deployment:"):
                app, _, name = key.removeprefix("deployment:").partition("#")
                self._publish_absent(DeploymentId(app, name))
        return await self._hub.watch(request)

    async def report_loads(self, process: str, reports: tuple[LoadReport, ...]) -> None:
        """Hear what a process asks of the deployments that follow their load."""
        await self._started()
        assert self._scaling is not None
        self._scaling.report(process, reports)

    async def report_splits(self, process: str, reports: tuple[SplitReport, ...]) -> None:
        """Hear what became of a process's calls of routes that are split."""
        await self._started()
        self._tallies.report(process, reports)

    async def suspect(
        self, process: str, deployment: DeploymentId, replica_id: str, reason: str
    ) -> None:
        """Somebody has had no word of a replica: find out whether its process answers."""
        await self._started()
        group = self._groups.get(deployment)
        if group is not None:
            log.info("%s suspects replica %s: %s", process, replica_id, reason)
            group.suspect(replica_id)

    async def shutdown(self) -> None:
        """Stop everything this instance runs, and forget it. The controller itself is left."""
        await self._started()
        async with self._changes:
            # Before they are let go. Whoever asks again finds none left, and waits as long.
            self._grace_s = max(self._grace_s, longest_grace_s(self._plan))
            state = State(self._state.instance, self._state.config, self._state.withheld)
            await self._store(replace(state, stopping=True))
            for task in self._following:
                task.cancel()
            if self._settling is not None:
                self._settling.cancel()
            self._lease.close()
            if self._services is not None:
                # Requests that were accepted still reach their replicas.
                await self._services.stop()
            self._expand(self._planned(self._state))
        try:
            async with asyncio.timeout(self._grace_s + _SHUTDOWN_S):
                while self._groups:
                    await self._next_turn()
        except TimeoutError:
            log.warning("some replicas did not stop in time and were killed")
        for group in self._groups.values():
            group.kill()
        if self._loop is not None:
            self._loop.cancel()
        if self._scaling is not None:
            await self._scaling.close()
        await self._emptied()
        await self._context.cluster.release(instance_prefix(self._state.instance))
        # Replicas that were killed could not remove theirs.
        sweep_sockets(self._context.socket_dir)
        await clear(self._context.cluster)
        self._ended = True
        self._following = [asyncio.create_task(self._end_itself())]

    async def _end_itself(self) -> None:
        """End this process, if whoever asked for the shutdown does not: it may be gone."""
        await asyncio.sleep(_GONE_S)
        me = await self._context.cluster.find_actor(self._context.name)
        if me is not None:
            me.kill()

    # --- working ------------------------------------------------------------------------

    async def _run(self) -> None:
        """Look again at what has changed, and where time alone may matter."""
        while True:
            # A task that is cancelled before its first step would clean nothing up.
            await asyncio.sleep(0)
            for deployment in await self._looks.due():
                group = self._groups.get(deployment)
                if group is not None:
                    self._looks.again(deployment, self._reconcile(group))
            self._turn.set()
            self._turn = asyncio.Event()

    def _reconcile(self, group: ReplicaGroup) -> float | None:
        try:
            pause = group.reconcile()
            self._publish(group, self._look(group).status)
            if self._starts.changed:
                self._publish_routes()
            if self._scaling is not None:
                self._scaling.running(group.deployment, len(group.entries))
            if group.gone:
                self._forget(group.deployment)
            if group.spec is None or not group.changing:
                self._release_callees(group.deployment)
        except Exception as error:  # one deployment's bug must not stop the others
            log.exception("%s could not be reconciled", group.deployment)
            group.fault(error)
            return 1.0
        return pause

    def _forget(self, deployment: DeploymentId) -> None:
        """Nothing is left of a deployment."""
        del self._groups[deployment]
        self._publish_absent(deployment)

    def _look(self, group: ReplicaGroup) -> DeploymentStatusOverview:
        """Return a deployment's status without details, and tell plugins when it is another."""
        before = group.condition
        overview = group.look()
        if group.condition != before:
            told = overview.status.value, overview.message
            self._plugins.on_event(Event("deployment", str(group.deployment), *told))
        return overview

    async def _next_turn(self) -> None:
        await self._turn.wait()

    async def _store(self, state: State) -> None:
        """Make a state durable, then make it ours.

        Raises:
            ClusterSilent: It is not stored; or it may be, and that will be found out.
        """
        try:
            await self._storage.save(state)
        except (Exception, asyncio.CancelledError):
            self._settle_later()
            raise
        self._state = state
        self._settle_later()

    async def _settle(self) -> None:
        """Find out whether the last change is stored, where that is in doubt; then go by it.

        Raises:
            ClusterSilent: The cluster does not answer.
        """
        if await self._storage.settle():
            assert self._storage.state is not None
            self._state = self._storage.state
            if self._is_up:
                self._expand(self._planned(self._state))

    def _settle_later(self) -> None:
        """Nobody may ask for a change for a long time: go by what is stored all the same."""
        if not self._storage.is_settled and (self._settling is None or self._settling.done()):
            self._settling = asyncio.create_task(self._settle_soon())

    async def _settle_soon(self) -> None:
        while not self._storage.is_settled:
            await asyncio.sleep(_SETTLE_S)
            async with self._changes:
                try:
                    await self._settle()
                    await self._storage.collect()
                except ClusterSilent:
                    continue
                except InternalError:
                    log.exception("the stored state is not this controller's any more")
                    return

    def _expand(self, plan: Plan) -> None:
        """Bring the groups and the routes in line with a plan."""
        assert self._scaling is not None
        before, self._plan = self._plan, plan
        touched = []
        for deployment, spec in self._plan.deployments.items():
            group = self._groups.get(deployment)
            if group is None:
                group = self._groups[deployment] = self._group(deployment)
            if group.spec is not spec:
                self._want(group, spec)
                touched.append(group)
        removed = [
            deployment
            for deployment, group in self._groups.items()
            if deployment not in self._plan.deployments and not _is_going(group)
        ]
        for deployment in removed:
            self._groups[deployment].hold()
            self._callers[deployment] = callers_of(deployment, before)
            touched.append(self._groups[deployment])
        for deployment in removed:
            self._release(deployment)
        self._starts.expand(self._plan)
        for group in touched:
            self._looks.now(group.deployment)
            # At once: a driver that waits for this must not see how it was before.
            self._publish(group, self._look(group).status)
        self._publish_routes()
        self._capacity.changed()

    def _want(self, group: ReplicaGroup, spec: DeploymentSpec) -> None:
        """Change what is wanted of a deployment, but for the number that it has by its load."""
        assert self._scaling is not None
        current = None if group.target is None else group.target.replicas
        group.want(spec, self._scaling.want(spec, current))

    def _scale(self, deployment: DeploymentId, number: int) -> None:
        group = self._groups.get(deployment)
        if group is not None:
            group.scale(number)
            self._capacity.changed()

    def _wanted_places(self) -> dict[DeploymentId, tuple[ActorSpec, int]]:
        places = {deployment: group.wanted_place for deployment, group in self._groups.items()}
        return {deployment: place for deployment, place in places.items() if place is not None}

    def _note_capacity(self, too_large: Mapping[DeploymentId, str]) -> None:
        for deployment, group in self._groups.items():
            group.too_large = too_large.get(deployment, "")

    def _release(self, deployment: DeploymentId) -> None:
        """Let a deployment go that is to, once nothing runs that may call it."""
        group = self._groups.get(deployment)
        if group is None or not group.held:
            return
        callers = [self._groups.get(caller) for caller in self._callers.get(deployment, ())]
        if not any(caller is not None and caller.changing for caller in callers):
            assert self._scaling is not None
            self._callers.pop(deployment, None)
            self._scaling.forget(deployment)
            group.want(None)
            self._looks.now(deployment)

    def _release_callees(self, caller: DeploymentId) -> None:
        for deployment in [each for each, callers in self._callers.items() if caller in callers]:
            self._release(deployment)

    def _planned(self, state: State) -> Plan:
        return Plan.of(state.resources, self._plugins.resource_kinds, self._plan)

    def _group(self, deployment: DeploymentId) -> ReplicaGroup:
        def observed(replica_id: str, state: ReplicaState, message: str) -> None:
            self._plugins.on_event(Event("replica", replica_id, state.value, message))

        assert self._membership is not None
        return ReplicaGroup(
            deployment,
            self._context.cluster,
            self._membership,
            self._records,
            self._gate,
            self._looks.now,
            observed,
        )

    async def _emptied(self) -> None:
        """Return when the cluster knows none of our processes any more.

        To kill one is to ask for it, and whoever asked for this shutdown will end the controller
        next: what it has asked for until then might never be sent.
        """
        prefix = instance_prefix(self._state.instance)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GONE_S):
                while await self._context.cluster.list_actors(prefix):  # noqa: ASYNC110  it tells nobody
                    await asyncio.sleep(_GONE_LOOK_S)

    def _call_away(self, leaving: Mapping[str, float]) -> None:
        """Have replicas replaced whose nodes are about to leave."""
        for group in self._groups.values():
            group.call_away(leaving)

    def _actor_names(self) -> set[str]:
        return {name for group in self._groups.values() for name in group.actor_names}

    # --- telling ------------------------------------------------------------------------

    def _publish_routes(self) -> None:
        current = self._hub.current(ROUTES_KEY)
        routes, starting = self._plan.routes, self._starts.take()
        if current is not None and (current.routes, current.starting) == (routes, starting):
            return
        self._tallies.keep({split_key(route) for route in self._plan.routes})
        version = self._routes_version = self._hub.next_version()
        table = RouteTable(version, routes, starting)
        self._hub.publish(ROUTES_KEY, version, table)
        self._plugins.on_event(Event("routes", "", str(version)))

    def _publish(self, group: ReplicaGroup, status: DeploymentStatus) -> None:
        """Publish a deployment's snapshot where it differs from the last one."""
        entries = group.entries
        failed = status is DeploymentStatus.DEPLOY_FAILED and not entries
        spec = group.spec
        wanted = 0 if group.target is None else group.target.replicas
        self._starts.note(group.deployment, len(entries), wanted, failed=failed)
        self._publish_snapshot(
            DeploymentSnapshot(
                group.deployment,
                0,
                "failed" if failed else "absent" if spec is None else "up",
                "it failed to start" if failed else "it was deleted" if spec is None else "",
                entries,
                spec.config.max_queued_requests if spec else 0,
                spec.config.routing_policy if spec else "power_of_two",
                follow_load=spec is not None and spec.config.autoscaling_config is not None,
            )
        )

    def _publish_absent(self, deployment: DeploymentId) -> None:
        self._publish_snapshot(
            DeploymentSnapshot(deployment, 0, "absent", "there is no such deployment")
        )
        self._hub.retire(deployment_key(deployment))

    def _publish_snapshot(self, snapshot: DeploymentSnapshot) -> None:
        key = deployment_key(snapshot.id)
        current: DeploymentSnapshot | None = self._hub.current(key)
        if current is not None and replace(snapshot, version=current.version) == current:
            return
        version = self._hub.next_version()
        self._hub.publish(key, version, replace(snapshot, version=version))

    def _application(self, key: Key, *, details: bool = False) -> ApplicationStatusOverview:
        deployments = {
            deployment: group.overview if details else self._look(group)
            for deployment, owner in self._plan.owners.items()
            if owner == key and (group := self._groups.get(deployment)) is not None
        }
        prefix = self._plan.resources[key].prefix
        deployed_at = self._state.deployed_at.get(key, 0.0)
        return application_overview(deployments, self._problem, deployed_at, prefix)

    def _problem(self, deployment: DeploymentId) -> str:
        return "" if self._scaling is None else self._scaling.problem(deployment)


def _is_going(group: ReplicaGroup) -> bool:
    return group.spec is None or group.held
