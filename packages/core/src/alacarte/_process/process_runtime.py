"""A process that makes calls: its routers, and what it hears from the controller.

One for each driver, replica and node service, all of it on one event loop.
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
from .._cluster.host import host_id, submit
from .._model.policy_parameters import build_parameters
from .._model.snapshots import ROUTES_KEY
from .._plugins import Plugins
from .._routing.chooser import Chooser, failed_policy
from .._routing.failed_route import FailedRoute
from .._routing.route_services import RouteServices
from .._routing.router import Router
from .._routing.sweep import Sweep
from .._settings import describe_deployment
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
from .described_tables import DescribedTables
from .lifetime import Lifetime
from .load_watches import LoadWatches
from .outage import AT_ONCE, Patience
from .process_meters import ProcessMeters, ReplyJudge
from .router_table import RouterTable
from .service_sender import ServiceSender
from .subscription import Subscription, SubscriptionEnded
from .topic_reporter import TopicReporter

__all__ = ["InstanceAccess", "ProcessRuntime"]

T = TypeVar("T")

log = logging.getLogger("alacarte.runtime")
_BLOCKING = Patience(restart_s=15.0, gone_s=15.0, cluster_s=15.0)
"""For a caller that blocks its thread meanwhile."""


@dataclass
class InstanceAccess:
    """What it takes to talk to an instance.

    Attributes:
        instance: Its name.
        secret: Proves to replicas that we belong to it. A controller that has found no process of
            the instance any more makes another one.
        max_message: The longest request or reply, in bytes.
    """

    cluster: Cluster
    instance: str
    secret: bytes = field(repr=False)
    max_message: int

    @classmethod
    def of(cls, membership: Membership, cluster: Cluster) -> InstanceAccess:
        """Return the access of a process that was started for an instance."""
        max_message = membership.config["cluster"]["max_message_bytes"]
        return cls(cluster, membership.instance, membership.secret, max_message)


class ProcessRuntime:
    """A `Runtime`. Made on the loop it is to use.

    Args:
        process: Its name tells it from others that watch the controller.
        decode_error: Reads the errors of replicas: `rebuild_error` in a process that must never
            unpickle what a request brings, as node services are; else `unpickle_error`.
        place: In a node service, which of its processes this is.
        has_local_replicas: To routing policies, replicas on this node are local.

    Attributes:
        failure_code: Judges replies, for policies and observers that ask.
    """

    def __init__(
        self,
        access: InstanceAccess,
        plugins: Plugins,
        config: ConfigSections,
        *,
        process: ProcessInfo,
        decode_error: ErrorDecoder,
        place: ServiceContext | None = None,
        has_local_replicas: bool = True,
    ) -> None:
        self.place = place
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
        # A successor may have our name, and counts and questions of its own.
        self._process = ProcessId(name, process.node_id, f"{random.getrandbits(64):x}")
        self._subscription = Subscription(self._watch, name, str(self._process))
        describe = self._describe if plugins.wraps_calls else None
        self._table = RouterTable(self._router, self._layers, describe, self._subscription)
        self._by_name: dict[DeploymentId, Service] = {}
        self._client = ControllerClient(access.cluster, access.instance, learn=self._learn)
        self._controller = self._client.controller(AT_ONCE)
        self._orphaned = False
        self._sweep = Sweep(self.loop)
        self._topics = TopicReporter(plugins.report_topics, self._report)
        self._telling: dict[str, asyncio.Task[None]] = {}
        self._failures_since = time.time()
        self._failures_due = False
        self._unwatch = plugins.failures.watch(self._plugin_failed)  # before the first question
        answers = plugins.tell("make_meter", process=process, config=config)
        self._meters = ProcessMeters(answers, plugins.failures)
        wire = self.observe("wire", WireObserver, "caller")
        self._connection = (
            CallerConnection if wire is None else observed_connection(CallerConnection, wire)
        )
        self.failure_code = ReplyJudge(lambda: plugins.protocols.values())
        self._routes = RouteServices(self.service, self._table.is_gone, self._route_layers)
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
        return self._table.service(deployment) if deployment.app else self._named(deployment)

    def broadcast(
        self, deployment: DeploymentId, call: Call
    ) -> Awaitable[list[Reply | BaseException]]:
        self.service(deployment)
        router = self.routers.get(deployment)
        if router is None:
            raise ConfigError(
                f"route {deployment.name!r} takes no broadcasts; call its deployments one by one."
            )
        return router.broadcast(call)

    def route_service(
        self, route: Route, failed: Callable[[Reply], bool] = lambda reply: False
    ) -> Service:
        return self._routes.route_service(route, failed)

    def replicas_of(self, deployment: DeploymentId) -> Sequence[ReplicaLoad]:
        router = self.routers.get(deployment)
        return () if router is None else tuple(router.replicas)

    def is_plain(self, deployment: DeploymentId) -> bool:
        return bool(deployment.app)

    def watch_routes(self, changed: Callable[[RouteTable], None]) -> None:
        self._routes.listen(changed)
        self._follow_routes()

    def watch_applications(self, changed: Callable[[ApplicationTable], None]) -> None:
        self.watch_routes(ApplicationWatch(changed))

    def report(self, topic: str, value: Any) -> None:
        self._topics.report(topic, value)

    async def send_report(self, topic: str, value: Any) -> None:
        await self._topics.send({topic: self._topics.encoded(topic, value)})

    def node_service(self, name: str) -> NodeServiceSender:
        if name not in self._plugins.node_services:
            raise PluginError(
                f"no installed plugin registers a node service {name!r}; there are "
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
        try:
            if self.loop.is_running() and not _is_here(self.loop):
                asked = self._client.controller(_BLOCKING).deployments_of(app)
                known: tuple[DeploymentId, ...] = self.submit(asked).result()
                return known
            # The caller is on our loop, which must not wait for itself, or that has stopped.
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                return pool.submit(asyncio.run, self._ask_apart(app)).result()
        except ActorDied as error:
            raise ServeError(f"the controller does not answer: {error}") from None

    async def _ask_apart(self, app: str) -> tuple[DeploymentId, ...]:
        client = ControllerClient(self._access.cluster, self._access.instance)
        return await client.controller(_BLOCKING).deployments_of(app)

    # ------------------------------------------------------------------------------------

    @property
    def routers(self) -> dict[DeploymentId, Router]:
        """The routers in use, for tests and diagnosis."""
        return self._table.live

    async def routes_known(self, version: int) -> None:
        """Return when calls from here take routes of this version, should they take any."""
        if self._follows_routes:
            await self._routes.wait_for_version(version)

    async def stopping(self) -> None:
        """Let plugins end what they began with this process. Calls can still be made."""
        await self._lifetime.end()

    async def close(self) -> None:
        """Hang up. Calls that still wait fail."""
        self._unwatch()
        self._subscription.close()
        for task in self._telling.values():
            task.cancel()
        self._topics.close()
        self._routes.close()
        await self._table.close()

    def _named(self, deployment: DeploymentId) -> Service:
        """Return the way to a route by its name."""
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
            suspect=functools.partial(self._suspect, deployment),
            observer=self.observe("router", RouterObserver, deployment),
            failure_code=self.failure_code,
        )

    def _watch_load(self, load: CallerLoad, head: DeploymentSnapshot) -> LoadWatch | None:
        deployment = self._describe(head)
        given = self._plugins.tell(
            "watch_load",
            subject=f"deployment {head.id}",
            deployment=deployment,
            load=load,
            runtime=self,
        )
        return LoadWatches(head.id, given, self._plugins.failures) if given else None

    def _layers(self, deployment: DeploymentInfo) -> Sequence[StagedLayer[Layer]]:
        with self._current():
            return self._plugins.wrap_caller(deployment, self.config)

    @contextlib.contextmanager
    def _current(self) -> Iterator[None]:
        """Make this the runtime that plugins' code gets, which may run anywhere on this loop."""
        token = current_runtime.set(self)
        try:
            yield
        finally:
            current_runtime.reset(token)

    def _describe(self, head: DeploymentSnapshot) -> DeploymentInfo:
        return describe_deployment(head.id, head.code_version, head.options, self._plugins)

    def _route_layers(self, route: Route) -> Sequence[RouteLayer]:
        return [
            FailedRoute(str(layer)) if isinstance(layer, PluginError) else layer
            for layer in self._plugins.wrap_route(route, self)
        ]

    def _policy(self, snapshot: DeploymentSnapshot) -> Chooser:
        """Make the policy of a deployment; one that cannot be made fails that deployment's calls.

        And no others: the snapshots of the rest are applied as ever.
        """
        name, deployment, failures = snapshot.policy, snapshot.id, self._plugins.failures
        plugin = ""
        try:
            factory = self._plugins.routing_policies.get(name)
            plugin = self._plugins.plugin_of("register_routing_policies", name)
            if factory is None:
                raise ConfigError(f"there are {sorted(self._plugins.routing_policies)}")
            parameters = build_parameters(str(deployment), factory, snapshot.policy_parameters)
            place = PolicyContext(self._describe(snapshot), parameters, self.config, time.monotonic)
            with self._current():
                return Chooser(factory.create(place), name, plugin, deployment, failures)
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
            self._client.forget()  # and learn of the secret when the controller is found again
            raise

    def _follow_routes(self) -> None:
        if not self._follows_routes:
            self._follows_routes = True
            self._subscription.follow(ROUTES_KEY, self._take_routes)

    def _take_routes(self, snapshot: TableSnapshot) -> None:
        table = self._tables.table(snapshot)
        self._routes.update(table)
        names = {route.name for route in table.routes}
        # Whoever has one of the others may go on using it: each looks its route up by itself.
        self._by_name = {key: way for key, way in self._by_name.items() if key.name in names}

    async def _watch(self, request: WatchRequest) -> Mapping[str, Snapshot]:
        """Ask the controller for what is newer than we know."""
        try:
            return await self._controller.watch(request)
        except OtherInstance:
            await self._leave_alone()
            raise SubscriptionEnded from None

    def _learn(self, info: InstanceInfo) -> None:
        self._access.secret = info.secret

    async def _leave_alone(self) -> None:
        """Ask a controller that is not ours nothing more. Calls from here fail, and say why."""
        if not self._orphaned:
            self._orphaned = True
            log.error(
                "%s; process %s makes no more calls: end it, or call serve.shutdown() and start "
                "anew.",
                OTHER_INSTANCE,
                self._name,
            )
        # Those that were made since, too.
        await self._table.close(OTHER_INSTANCE)

    # --- what the controller is told ----------------------------------------------------

    async def _report(self, number: int, values: Mapping[str, bytes]) -> frozenset[str]:
        try:
            return await self._controller.report(self._process, number, values)
        except OtherInstance:
            self._topics.close()
            raise

    def _plugin_failed(self) -> None:
        """Report the failures of plugins, in whatever thread one has failed."""
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
        """Tell the controller of a replica that does not answer; without one, nobody."""
        if replica_id in self._telling:  # it has not heard us yet
            return

        async def tell() -> None:
            try:
                await self._controller.suspect(self._name, deployment, replica_id, reason)
            except Exception as error:  # it will be told again as long as the replica is silent
                log.debug("the controller was not told of replica %s: %r", replica_id, error)

        task = self._telling[replica_id] = self.loop.create_task(tell())
        task.add_done_callback(lambda _: self._telling.pop(replica_id, None))


_runtimes: weakref.WeakSet[ProcessRuntime] = weakref.WeakSet()


def _after_fork() -> None:
    """In a forked child nothing turns the loops any more: close them, for all who would wait.

    A loop of the child's own in place of the parent's, whose sockets both of them hold.
    """
    for runtime in list(_runtimes):
        runtime.loop = asyncio.new_event_loop()
        runtime.loop.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _is_here(loop: asyncio.AbstractEventLoop) -> bool:
    """Return whether the caller runs on this loop."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False
