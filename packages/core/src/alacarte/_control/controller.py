"""The controller: holds what users asked for, and makes it so.

One actor for each instance. Every change is stored before it is acted on. It decides nothing
itself: resources are expanded by their kinds, replicas come and go by `reconcile`, and what it has
to say is published as snapshots. Requests never pass through it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .._cluster.host import sweep_sockets
from .._cluster.protocol import ActorContext, ActorDied
from .._model.snapshots import ROUTES_KEY, DeploymentSnapshot, deployment_key
from .._plugins import PluginRecord
from .._settings import ConfigValues
from ..errors import ConfigError, DeployError
from ..status import (
    ApplicationStatus,
    ApplicationStatusOverview,
    DeploymentStatus,
    DeploymentStatusOverview,
    ReplicaState,
    ServeStatus,
)
from ..types import DeploymentId, Event, Resource, RouteTable
from .desired import (
    Desired,
    Key,
    State,
    decode_state,
    encode_state,
    expand,
    kind_of,
    target_of,
)
from .replicas import ReplicaGroup, instance_prefix, replica_prefix
from .services import ServiceGroup, Wanted
from .summary import application_status, deployment_status, settled
from .watch import SnapshotHub

__all__ = ["STATE_KEY", "Controller"]

log = logging.getLogger("alacarte.controller")
STATE_KEY = "state"
_GONE_S = 5.0
_GONE_LOOK_S = 0.01
_NODES_S = 2.0
"""How often to look for nodes that came or went."""


class Controller:
    """The controller of one instance. Made and called through the cluster."""

    def __init__(self, context: ActorContext, config: Mapping[str, Any]) -> None:
        self._context = context
        self._plugins = context.plugins
        self._records: tuple[PluginRecord, ...] = context.plugins.loaded
        self._state = State(secrets.token_hex(4), secrets.token_bytes(32), config)
        self._desired = Desired({}, (), {})
        self._groups: dict[DeploymentId, ReplicaGroup] = {}
        self._services: ServiceGroup | None = None
        self._hub = SnapshotHub()
        self._dirty = asyncio.Event()
        self._turn = asyncio.Event()
        self._changes = asyncio.Lock()
        self._loop: asyncio.Task[None] | None = None
        self._following: asyncio.Task[None] | None = None
        self._routes_version = 0
        self._is_up = False
        self._ended = False

    # --- called by drivers --------------------------------------------------------------

    async def begin(self) -> dict[str, Any]:
        """Start working, or go on; return what a driver needs to join the instance."""
        await self._started()
        return {
            "instance": self._state.instance,
            "secret": self._state.secret,
            "config": self._state.config,
            "plugins": self._records,
            "node": self._context.node.node_id,
        }

    async def _started(self) -> None:
        """Take up the stored state and what runs of it already. Once; every method asks."""
        if self._ended:
            raise ActorDied("the instance was shut down")
        if self._working():
            return
        async with self._changes:
            if self._working():
                return
            sweep_sockets(self._context.socket_dir)
            stored = await self._context.cluster.get(STATE_KEY)
            if stored is None:
                await self._store(self._state)
            else:
                self._state = decode_state(stored)
            self._services = ServiceGroup(
                self._context.cluster,
                self._state,
                self._records,
                self._hub.track,
                self._hub.untrack,
            )
            self._desired = self._expanded()
            if stored is not None:
                await self._adopt()
            self._loop = asyncio.create_task(self._run())
            self._expand()
            if await self._place_services():
                self._following = asyncio.create_task(self._follow_nodes())
            # Last: whoever asks meanwhile waits, and does not find half of it.
            self._is_up = True

    def _working(self) -> bool:
        return self._is_up

    async def _adopt(self) -> None:
        """Take in the replicas that a former controller of this instance left running."""
        cluster = self._context.cluster
        for name in await cluster.list_actors(replica_prefix(self._state.instance)):
            actor = await cluster.find_actor(name)
            if actor is None:
                continue
            try:
                started = await actor.call("describe")
            except ActorDied:
                continue
            spec = started and self._desired.deployments.get(started.deployment)
            if spec is None:
                actor.kill()  # it was still starting, or nobody wants it any more
                continue
            group = self._groups.setdefault(spec.id, self._group(spec.id))
            group.want(spec)
            group.adopt(actor, started)

    async def ready(self) -> None:
        """Return when every node service has come up.

        Raises:
            ConfigError: One was refused what the user asked for, such as its port.
        """
        await self._started()
        assert self._services is not None
        await self._services.settled()

    async def apply(self, resource: Resource) -> None:
        """Store a resource in place of the one of its name, and begin to make it so.

        Raises:
            ConfigError: It cannot exist beside the others, or nobody knows its kind.
        """
        await self._started()
        async with self._changes:
            key = (resource.kind, resource.name)
            others = [value for other, value in self._state.resources.items() if other != key]
            kind = kind_of(resource, self._plugins.resource_kinds)
            kind.validate(resource, others)
            kind.expand(resource)
            self._refuse_unknown_policies(resource)
            await self._store(self._state.with_resource(resource, time.time()))
            self._expand()

    async def applied(self, kind: str, name: str) -> None:
        """Return when a resource's deployments run and every proxy knows its routes.

        Raises:
            DeployError: A deployment does not start; the user's own frame comes first.
            ConfigError: A node service was refused what the user asked for.
        """
        await self._started()
        key = (kind, name)
        version = self._routes_version
        while True:
            overview = self._application(key)
            if settled(overview.status):
                break
            await self._next_turn()
        if overview.status is ApplicationStatus.DEPLOY_FAILED:
            raise DeployError(overview.message)
        await self.ready()
        await self._hub.seen(ROUTES_KEY, version)

    async def delete(self, kind: str, name: str) -> bool:
        """Remove a resource; return whether there was one. Its replicas drain meanwhile."""
        await self._started()
        key = (kind, name)
        async with self._changes:
            if key not in self._state.resources:
                return False
            await self._store(self._state.without(key))
            self._expand()
        return True

    async def deleted(self, kind: str, name: str) -> None:
        """Return when nothing is left of a resource that was deleted."""
        await self._started()
        while any(
            deployment.app == name and group.spec is None
            for deployment, group in self._groups.items()
        ):
            await self._next_turn()

    async def deployments_of(self, app: str) -> tuple[DeploymentId, ...]:
        """Return an application's deployments, its ingress first; () for none such."""
        await self._started()
        found = [deployment for deployment in self._desired.deployments if deployment.app == app]
        # Callees stand before callers, so the ingress is the last.
        return tuple(reversed(found))

    async def status(self) -> ServeStatus:
        """Return how everything is doing."""
        await self._started()
        assert self._services is not None
        return ServeStatus(
            self._services.by_node,
            {key[1]: self._application(key) for key in self._state.resources},
            self._services.overviews,
        )

    async def restart_services(self, service: str, drain_s: float) -> None:
        """Put a successor in the place of each process of a node service; see `ServiceGroup`."""
        await self._started()
        assert self._services is not None
        await self._services.restart(service, drain_s)

    async def watch(self, key: str, known: int, watcher: str) -> Any | None:
        """Answer when there is a snapshot of `key` newer than `known`; see `SnapshotHub`."""
        await self._started()
        if self._hub.current(key) is None and key.startswith("deployment:"):
            app, _, name = key.removeprefix("deployment:").partition("#")
            self._publish_absent(DeploymentId(app, name))
        return await self._hub.watch(key, known, watcher)

    async def shutdown(self) -> None:
        """Stop everything this instance runs, and forget it. The controller itself is left."""
        await self._started()
        async with self._changes:
            await self._store(State(self._state.instance, self._state.secret, stopping=True))
            if self._following is not None:
                self._following.cancel()
            if self._services is not None:
                # Requests that were accepted still reach their replicas.
                await self._services.stop()
            self._expand()
        try:
            async with asyncio.timeout(30.0):
                while self._groups:
                    await self._next_turn()
        except TimeoutError:
            log.warning("some replicas did not stop in time and were killed")
        for group in self._groups.values():
            group.kill()
        if self._loop is not None:
            self._loop.cancel()
        await self._emptied()
        # Replicas that were killed could not remove theirs.
        sweep_sockets(self._context.socket_dir)
        await self._context.cluster.delete(STATE_KEY)
        self._ended = True

    # --- working ------------------------------------------------------------------------

    async def _run(self) -> None:
        """Look again after every change, and when time alone may matter."""
        while True:
            pauses = [self._reconcile(group) for group in list(self._groups.values())]
            for deployment in [key for key, group in self._groups.items() if group.gone]:
                del self._groups[deployment]
                self._publish_absent(deployment)
            self._turn.set()
            self._turn = asyncio.Event()
            soon = [pause for pause in pauses if pause is not None]
            try:
                async with asyncio.timeout(min(soon) if soon else None):
                    await self._dirty.wait()
            except TimeoutError:
                continue
            finally:
                self._dirty.clear()

    def _reconcile(self, group: ReplicaGroup) -> float | None:
        try:
            pause = group.reconcile()
            if self._overview(group).status is DeploymentStatus.HEALTHY:
                group.was_healthy = True
            self._publish(group)
        except Exception:  # one deployment's bug must not stop the others
            log.exception("%s could not be reconciled", group.deployment)
            return 1.0
        return pause

    async def _next_turn(self) -> None:
        await self._turn.wait()

    async def _store(self, state: State) -> None:
        """Make a state durable, then make it ours."""
        await self._context.cluster.put(STATE_KEY, encode_state(state))
        self._state = state

    def _expand(self) -> None:
        """Bring the groups and the routes in line with the resources."""
        self._desired = self._expanded()
        for deployment, spec in self._desired.deployments.items():
            group = self._groups.get(deployment)
            if group is None:
                group = self._groups[deployment] = self._group(deployment)
            if group.spec is not spec:
                group.want(spec)
        for deployment, group in self._groups.items():
            if deployment not in self._desired.deployments and group.spec is not None:
                group.want(None)
        for group in self._groups.values():
            self._publish(group)
        self._publish_routes()
        self._dirty.set()

    def _expanded(self) -> Desired:
        return expand(self._state.resources, self._plugins.resource_kinds)

    def _group(self, deployment: DeploymentId) -> ReplicaGroup:
        def observed(replica_id: str, state: ReplicaState, message: str) -> None:
            self._plugins.on_event(Event("replica", replica_id, state.value, message))

        return ReplicaGroup(
            deployment,
            self._context.cluster,
            self._state,
            self._records,
            self._dirty.set,
            observed,
        )

    async def _place_services(self) -> bool:
        """Put node services on the nodes there are; return whether there are any services."""
        assert self._services is not None
        config = ConfigValues(self._plugins, self._state.config)
        specs = [spec for spec in self._plugins.node_services.values() if spec.enabled(config)]
        nodes = await self._context.cluster.nodes() if specs else []
        if nodes and not self._ended:  # a cluster always has one, so none is no answer
            self._services.place(
                [
                    Wanted(
                        spec,
                        [node for node in nodes if node.is_head or not spec.head_only(config)],
                        spec.processes(config),
                    )
                    for spec in specs
                ]
            )
        return bool(specs)

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

    async def _follow_nodes(self) -> None:
        """Give services to nodes that join later, and take them from those that are gone."""
        while True:
            await asyncio.sleep(_NODES_S)
            try:
                await self._place_services()
            except Exception:  # whatever the cluster answers, it is asked again
                log.exception("the cluster's nodes are not known")

    def _refuse_unknown_policies(self, resource: Resource) -> None:
        known = self._plugins.routing_policies
        expansion = kind_of(resource, self._plugins.resource_kinds).expand(resource)
        for spec in expansion.deployments:
            if spec.config.routing_policy not in known:
                raise ConfigError(
                    f"{spec.id}: no installed plugin gives a routing policy "
                    f"{spec.config.routing_policy!r}; there are {sorted(known)}."
                )

    # --- telling ------------------------------------------------------------------------

    def _publish_routes(self) -> None:
        current = self._hub.current(ROUTES_KEY)
        if current is not None and current.routes == self._desired.routes:
            return
        version = self._routes_version = self._hub.next_version()
        table = RouteTable(version, self._desired.routes)
        self._hub.publish(ROUTES_KEY, version, table)
        self._plugins.on_event(Event("routes", "", str(version)))

    def _publish(self, group: ReplicaGroup) -> None:
        """Publish a deployment's snapshot where it differs from the last one."""
        overview = self._overview(group)
        failed = overview.status is DeploymentStatus.DEPLOY_FAILED and not group.entries
        spec = group.spec
        self._publish_snapshot(
            DeploymentSnapshot(
                group.deployment,
                0,
                "failed" if failed else "absent" if spec is None else "up",
                "it failed to start" if failed else "it was deleted" if spec is None else "",
                group.entries,
                spec.config.max_queued_requests if spec else 0,
                spec.config.routing_policy if spec else "power_of_two",
            ),
            overview,
        )

    def _publish_absent(self, deployment: DeploymentId) -> None:
        self._publish_snapshot(
            DeploymentSnapshot(deployment, 0, "absent", "there is no such deployment"), None
        )

    def _publish_snapshot(
        self, snapshot: DeploymentSnapshot, overview: DeploymentStatusOverview | None
    ) -> None:
        key = deployment_key(snapshot.id)
        current: DeploymentSnapshot | None = self._hub.current(key)
        if current is not None and _same(current, snapshot):
            return
        version = self._hub.next_version()
        self._hub.publish(key, version, replace(snapshot, version=version))
        if overview is not None:
            self._plugins.on_event(
                Event("deployment", str(snapshot.id), overview.status.value, overview.message)
            )

    def _overview(self, group: ReplicaGroup) -> DeploymentStatusOverview:
        return deployment_status(
            None if group.spec is None else target_of(group.spec),
            group.views,
            failures=group.failures,
            was_healthy=group.was_healthy,
            message=group.message,
        )

    def _application(self, key: Key) -> ApplicationStatusOverview:
        deployments = {
            deployment.name: self._overview(self._groups[deployment])
            for deployment, owner in self._desired.owners.items()
            if owner == key and deployment in self._groups
        }
        status = application_status(list(deployments.values()))
        failed = [each.message for each in deployments.values() if each.message]
        prefix = next((route.prefix for route in self._desired.routes if route.app == key[1]), None)
        return ApplicationStatusOverview(
            status,
            failed[0] if failed else "",
            self._state.deployed_at.get(key, 0.0),
            deployments,
            prefix,
        )


def _same(one: DeploymentSnapshot, other: DeploymentSnapshot) -> bool:
    return replace(one, version=0) == replace(other, version=0)
