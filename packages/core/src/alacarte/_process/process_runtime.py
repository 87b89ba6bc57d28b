"""Runtime of a process that makes calls: its routers, and its connection to the controller.

Each driver, replica and node service has one runtime, on one event loop.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import logging
import os
import random
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .._cluster.actor_names import service_group
from .._cluster.cluster_protocol import ActorDied, Cluster
from .._cluster.host_sockets import host_id
from .._cluster.loop_thread import submit
from .._model.policy_parameters import build_parameters
from .._model.snapshots import ROUTES_KEY
from .._plugins import Plugins
from .._routing.chooser import Chooser, failed_policy
from .._routing.failed_route import FailedRoute
from .._routing.route_services import RouteServices
from .._routing.router import Router
from .._routing.sweep import Sweep
from .._section_values import describe_deployment
from .._wire.authentication import AuthenticationError
from .._wire.caller_connection import CallerConnection, connect
from .._wire.error_codec import ErrorDecoder
from .._wire.observed_connection import observed_connection
from ..actors import (
    PLUGIN_FAILURES_TOPIC,
    DeploymentSnapshot,
    InstanceInfo,
    Membership,
    Snapshot,
    TableSnapshot,
    WatchRequest,
)
from ..context import current_runtime
from ..errors import ConfigError, PluginError, ServeError
from ..foreign import is_interrupt
from ..layers import deadline
from ..types import (
    Address,
    ApplicationTable,
    Call,
    CallerLoad,
    ConfigSections,
    DeploymentId,
    DeploymentInfo,
    Hooks,
    Layer,
    LoadWatch,
    NodeServiceSender,
    PolicyContext,
    ProcessId,
    ProcessInfo,
    ReplicaLoad,
    Reply,
    Route,
    RouteLayer,
    RouterObserver,
    RouteTable,
    Service,
    ServiceContext,
    StagedLayer,
    WireObserver,
)
from .application_watch import ApplicationWatch
from .controller_client import OTHER_INSTANCE, ControllerClient, OtherInstance
from .controller_retry import NO_RETRY, RetryLimits
from .described_tables import DescribedTables
from .lifetime import Lifetime
from .load_watches import LoadWatches
from .node_service_sender import ServiceSender
from .process_meters import ProcessMeters, ReplyJudge
from .router_table import RouterTable
from .subscription import Subscription, SubscriptionEnded
from .topic_reporter import TopicReporter

__all__ = ["InstanceAccess", "ProcessRuntime"]

T = TypeVar("T")

log = logging.getLogger("alacarte.runtime")
_BLOCKING_LIMITS = RetryLimits(restart_s=15.0, gone_s=15.0, cluster_s=15.0)
"""For a caller that blocks its thread."""


@dataclass
class InstanceAccess:
    """The values that a process needs to call replicas and the controller of an instance.

    Attributes:
        instance: Name of the instance.
        secret: Proof of membership for replicas. A controller that restarts and finds no running
            process of the instance creates a new secret.
        max_message: Maximum size of a request or reply, in bytes.
    """

    cluster: Cluster
    instance: str
    secret: bytes = field(repr=False)
    max_message: int

    @classmethod
    def of(cls, membership: Membership, cluster: Cluster) -> InstanceAccess:
        """Return the access of a process with this membership."""
        max_message = membership.config["cluster"]["max_message_bytes"]
        return cls(cluster, membership.instance, membership.secret, max_message)


class ProcessRuntime:
    """The `Runtime` of a process. Create it on its event loop.

    Args:
        process: Description of the process; its name identifies it to the controller.
        decode_error: Reads the errors of replicas: `rebuild_error` in a process that must never
            unpickle what a request brings, as node services are; else `unpickle_error`.
        service_context: Index, metadata and sockets of this process of a node service.
        has_local_replicas: Routing policies treat replicas on this node as local.

    Attributes:
        failure_code: Classifies replies for policies and observers.
    """

    def __init__(
        self,
        access: InstanceAccess,
        plugins: Plugins,
        config: ConfigSections,
        *,
        process: ProcessInfo,
        decode_error: ErrorDecoder,
        service_context: ServiceContext | None = None,
        has_local_replicas: bool = True,
    ) -> None:
        self.service_context = service_context
        _runtimes.add(self)
        self.loop = asyncio.get_running_loop()
        self.config = config
        self.node_id = process.node_id
        self.process = process
        self._local_node_id = process.node_id if has_local_replicas else ""
        self._access = access
        self._plugins = plugins
        name = self._name = process.name
        self._decode_error = decode_error
        self._host_id = host_id()
        # With a random part: a successor of the same name must not be mistaken for this process.
        self._process = ProcessId(name, process.node_id, f"{random.getrandbits(64):x}")
        self._subscription = Subscription(self._watch, name, str(self._process))
        describe = self._describe if plugins.wraps_calls else None
        self._table = RouterTable(self._router, self._layers, describe, self._subscription)
        self._by_name: dict[DeploymentId, Service] = {}
        self._client = ControllerClient(access.cluster, access.instance, learn=self._learn)
        self._controller = self._client.controller(NO_RETRY)
        self._orphaned = False
        self._sweep = Sweep(self.loop)
        self._topics = TopicReporter(plugins.report_topics, self._report)
        self._suspicions: dict[str, asyncio.Task[None]] = {}
        self._failures_since = time.time()
        self._failures_due = False
        self._unwatch = plugins.failures.watch(self._plugin_failed)  # before the first hook
        answers = plugins.call_robust("make_meter", process=process, config=config)
        self._meters = ProcessMeters(answers, plugins.failures)
        wire = self.observe("wire", WireObserver, "caller")
        self._connection = (
            CallerConnection if wire is None else observed_connection(CallerConnection, wire)
        )
        self.failure_code = ReplyJudge(lambda: plugins.protocols.values())
        self._routes = RouteServices(self.service, self._table.is_deleted, self._route_layers)
        self._tables = DescribedTables(
            lambda deployment, version, options: describe_deployment(
                deployment, version, options, plugins
            )
        )
        self._follows_routes = False
        self._lifetime = Lifetime(
            plugins, "on_process", f"process {process.name}", process=process, runtime=self
        )
        self._lifetime.begin()

    # --- Runtime ------------------------------------------------------------------------

    @property
    def hooks(self) -> Hooks:
        return self._plugins

    def service(self, deployment: DeploymentId) -> Service:
        return (
            self._table.service(deployment) if deployment.app else self._route_by_name(deployment)
        )

    def broadcast(
        self, deployment: DeploymentId, call: Call
    ) -> Awaitable[list[Reply | BaseException]]:
        self.service(deployment)
        router = self.routers.get(deployment)
        if router is None:
            raise ConfigError(
                f"route {deployment.name!r} does not support broadcasts; call its deployments one "
                "by one."
            )
        return router.broadcast(call)

    def route_service(
        self, route: Route, failed: Callable[[Reply], bool] = lambda reply: False
    ) -> Service:
        return self._routes.route_service(route, failed)

    def replicas_of(self, deployment: DeploymentId) -> Sequence[ReplicaLoad]:
        router = self.routers.get(deployment)
        return () if router is None else tuple(router.replicas)

    def is_task_free(self, deployment: DeploymentId) -> bool:
        return bool(deployment.app)

    def watch_routes(self, changed: Callable[[RouteTable], None]) -> None:
        self._routes.listen(changed)
        self._follow_routes()

    def watch_applications(self, changed: Callable[[ApplicationTable], None]) -> None:
        self.watch_routes(ApplicationWatch(changed))

    def report(self, topic: str, value: object) -> None:
        self._topics.report(topic, value)

    async def send_report(self, topic: str, value: object) -> None:
        await self._topics.send({topic: self._topics.encoded(topic, value)})

    def node_service(self, name: str) -> NodeServiceSender:
        if name not in self._plugins.node_services:
            raise PluginError(
                f"no installed plugin registers a node service {name!r}; registered services: "
                f"{sorted(self._plugins.node_services)}."
            )
        group = service_group(self._access.instance, name, self.node_id)
        return ServiceSender(self._access.cluster, group)

    def observe(self, kind: str, base: type[T], *subject: object) -> T | None:
        return self._meters.observe(kind, base, *subject)

    def submit(self, work: Awaitable[Any]) -> concurrent.futures.Future[Any]:
        async def run() -> Any:
            return await work

        coroutine = work if isinstance(work, Coroutine) else run()
        return submit(coroutine, self.loop)

    def deployments_of(self, app: str) -> tuple[DeploymentId, ...]:
        # In a thread with its own loop: the caller may run on this runtime's loop, which must not
        # wait for itself, or that loop may have stopped.
        thread = concurrent.futures.ThreadPoolExecutor(1)
        try:
            return thread.submit(asyncio.run, self._fetch_deployments(app)).result()
        except ActorDied as error:
            raise ServeError(f"the controller does not answer: {error}") from None
        finally:
            thread.shutdown(wait=False)  # an interrupted caller must not wait for the answer

    async def _fetch_deployments(self, app: str) -> tuple[DeploymentId, ...]:
        client = ControllerClient(self._access.cluster, self._access.instance)
        return await client.controller(_BLOCKING_LIMITS).deployments_of(app)

    # ------------------------------------------------------------------------------------

    @property
    def routers(self) -> dict[DeploymentId, Router]:
        """The routers in use, for tests and diagnosis."""
        return self._table.live

    async def routes_known(self, version: int) -> None:
        """Wait until calls of this process use routes of a version, if it uses routes at all."""
        if self._follows_routes:
            await self._routes.wait_for_version(version)

    async def stopping(self) -> None:
        """Run the plugins' cleanups for this process. Calls are still possible."""
        await self._lifetime.end()

    async def close(self) -> None:
        """Close all connections. Waiting calls fail."""
        self._unwatch()
        self._subscription.close()
        for task in self._suspicions.values():
            task.cancel()
        self._topics.close()
        self._routes.close()
        await self._table.close()

    def _route_by_name(self, deployment: DeploymentId) -> Service:
        """Return the service of a route by its name."""
        self._follow_routes()
        service = self._by_name.get(deployment)
        if service is None:
            named = self._routes.named_service(deployment.name)
            service = self._by_name[deployment] = deadline(deployment)(named)
        return service

    def _router(self, deployment: DeploymentId) -> Router:
        return Router(
            deployment,
            self._policy,
            self._connect,
            self._local_node_id,
            sweep=self._sweep,
            watch_load=self._watch_load,
            on_suspect=functools.partial(self._suspect, deployment),
            observer=self.observe("router", RouterObserver, deployment),
            failure_code=self.failure_code,
        )

    def _watch_load(self, load: CallerLoad, snapshot: DeploymentSnapshot) -> LoadWatch | None:
        deployment = self._describe(snapshot)
        answers = self._plugins.call_robust(
            "watch_load",
            subject=f"deployment {snapshot.id}",
            deployment=deployment,
            load=load,
            runtime=self,
        )
        return LoadWatches(snapshot.id, answers, self._plugins.failures) if answers else None

    def _layers(self, deployment: DeploymentInfo) -> Sequence[StagedLayer[Layer]]:
        with self._current():
            return self._plugins.wrap_caller(deployment, self.config)

    @contextlib.contextmanager
    def _current(self) -> Iterator[None]:
        """Make this runtime the current one while code of plugins runs."""
        token = current_runtime.set(self)
        try:
            yield
        finally:
            current_runtime.reset(token)

    def _describe(self, snapshot: DeploymentSnapshot) -> DeploymentInfo:
        return describe_deployment(
            snapshot.id, snapshot.code_version, snapshot.options, self._plugins
        )

    def _route_layers(self, route: Route) -> Sequence[RouteLayer]:
        return [
            FailedRoute(str(layer)) if isinstance(layer, PluginError) else layer
            for layer in self._plugins.wrap_route(route, self)
        ]

    def _policy(self, snapshot: DeploymentSnapshot) -> Chooser:
        """Create the policy of a deployment; if that fails, return one that fails every call.

        So a failing policy affects no other deployment's snapshots.
        """
        name, deployment, failures = snapshot.policy, snapshot.id, self._plugins.failures
        plugin = ""
        try:
            factory = self._plugins.routing_policies.get(name)
            plugin = self._plugins.plugin_of("register_routing_policies", name)
            if factory is None:
                raise ConfigError(f"there are {sorted(self._plugins.routing_policies)}")
            parameters = build_parameters(str(deployment), factory, snapshot.policy_parameters)
            info = self._describe(snapshot)
            context = PolicyContext(info, parameters, self.config, time.monotonic)
            with self._current():
                return Chooser(factory.create(context), name, plugin, deployment, failures)
        except BaseException as error:  # foreign code
            if is_interrupt(error):
                raise
            return failed_policy(name, plugin, deployment, failures, error)

    async def _connect(self, replica_id: str, address: Address) -> CallerConnection:
        try:
            return await connect(
                address,
                replica_id,
                self._access.secret,
                host_id=self._host_id,
                max_message=self._access.max_message,
                decode_error=self._decode_error,
                kind=self._connection,
            )
        except AuthenticationError:
            self._client.forget()  # the next call of the controller updates the secret
            raise

    def _follow_routes(self) -> None:
        if not self._follows_routes:
            self._follows_routes = True
            self._subscription.follow(ROUTES_KEY, self._take_routes)

    def _take_routes(self, snapshot: TableSnapshot) -> None:
        table = self._tables.table(snapshot)
        self._routes.update(table)
        names = {route.name for route in table.routes}
        # Existing users of a dropped service may keep it: each call looks its route up.
        self._by_name = {key: each for key, each in self._by_name.items() if key.name in names}

    async def _watch(self, request: WatchRequest) -> Mapping[str, Snapshot]:
        """Request newer snapshots from the controller."""
        try:
            return await self._controller.watch(request)
        except OtherInstance:
            await self._disconnect()
            raise SubscriptionEnded from None

    def _learn(self, info: InstanceInfo) -> None:
        self._access.secret = info.secret

    async def _disconnect(self) -> None:
        """Fail all calls of this process: its instance has ended, and another one runs."""
        if not self._orphaned:
            self._orphaned = True
            log.error(
                "%s; all calls of process %s fail. End the process, or call serve.shutdown() and "
                "serve.start() in it.",
                OTHER_INSTANCE,
                self._name,
            )
        # Also if already disconnected: routers may have been created since.
        await self._table.close(OTHER_INSTANCE)

    # --- reports to the controller ------------------------------------------------------

    async def _report(self, number: int, values: Mapping[str, bytes]) -> frozenset[str]:
        try:
            return await self._controller.report(self._process, number, values)
        except OtherInstance:
            self._topics.close()
            raise

    def _plugin_failed(self) -> None:
        """Schedule a report of plugin failures. Called in any thread."""
        if not self._failures_due:
            self._failures_due = True
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self.loop.call_soon_threadsafe(self._report_failures)

    def _report_failures(self) -> None:
        self._failures_due = False
        failures = self._plugins.failures.values(self._failures_since)
        if failures:
            self._topics.report(PLUGIN_FAILURES_TOPIC, failures)

    def _suspect(self, deployment: DeploymentId, replica_id: str, reason: str) -> None:
        """Report a replica that does not answer to the controller, once at a time."""
        if replica_id in self._suspicions:  # the last report is still on its way
            return

        async def report() -> None:
            try:
                await self._controller.suspect(self._name, deployment, replica_id, reason)
            except Exception as error:  # reported again while the replica does not answer
                log.debug("could not report replica %s to the controller: %r", replica_id, error)

        task = self._suspicions[replica_id] = self.loop.create_task(report())
        task.add_done_callback(lambda _: self._suspicions.pop(replica_id, None))


_runtimes: weakref.WeakSet[ProcessRuntime] = weakref.WeakSet()


def _after_fork() -> None:
    """Replace the loops of all runtimes in a forked child by closed ones, so that waiters fail.

    No thread runs the parent's loops in the child, and their sockets are shared with the parent.
    """
    for runtime in list(_runtimes):
        runtime.loop = asyncio.new_event_loop()
        runtime.loop.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
