"""Runtime of a process: calls of deployments, routes, reports and observers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from ._app_routes import Route, RouteTable
from ._applications import ApplicationTable
from ._configuration import ConfigSections
from ._deployment_id import DeploymentId
from ._hooks import Hooks
from ._processes import ProcessInfo
from ._replica_load import ReplicaLoad
from ._requests import Call, Reply, Service

T = TypeVar("T")


class ServiceContext(Protocol):
    """Index, metadata and sockets of a process of a node service.

    Attributes:
        index: Counts from 0; a successor has its predecessor's index.
        metadata: The mapping that `start` returned in the previous process with this index, or
            else in a sibling. Empty for the first process.
    """

    index: int
    metadata: Mapping[str, str]

    def new_socket(self) -> str:
        """Return a new path for a Unix socket, which siblings find with `sibling_sockets`.

        The path lies in a directory that only this user can enter. Remove the socket in `stop`.
        """

    def sibling_sockets(self) -> list[str]:
        """Return the socket paths of the other living processes of this service on this node."""


class NodeServiceSender(Protocol):
    """Sends messages to the processes of a node service on this process's node."""

    async def send(self, message: bytes) -> list[bytes]:
        """Send a message to each process of the service; return the replies, in any order.

        An actor call: about a millisecond on Ray. For control, not for requests.

        Each process receives the message at most once. `send` waits at most 10 s for a process that
        is starting. A process that is being replaced receives messages until its successor has
        started, so both may reply for a moment.

        Args:
            message: 1 MiB at most.

        Raises:
            NotFoundError: No process of the service runs on this node, or none has started within
                10 s.
            ActorDied: A process ended before its reply, and may have handled the message; the
                others have handled it. From `alacarte.actors`.
            PluginError: The service receives no messages, or the message is too long.
            TimeoutError: A process has not replied for 30 s.
        """


class Runtime(Protocol):
    """The connection of one process to its instance, for handles, proxies and clients.

    One per process that calls deployments; in the local cluster, one per actor and one for
    the driver. Call its methods on `loop`, except `submit`, which is for other threads.
    """

    loop: asyncio.AbstractEventLoop
    config: ConfigSections
    node_id: str
    process: ProcessInfo

    @property
    def hooks(self) -> Hooks:
        """The hooks of this process, for plugins that specify hooks of their own."""

    @property
    def service_context(self) -> ServiceContext | None:
        """The context of this process of a node service; None in a driver or a replica."""

    def service(self, deployment: DeploymentId) -> Service:
        """Return the service that calls a deployment: all caller layers around the router.

        Returns the same object each time. While the deployment has no replica, calls are queued
        up to `max_queued_requests`.
        """

    def is_task_free(self, deployment: DeploymentId) -> bool:
        """Return whether calls of a deployment do not depend on the task that they run in.

        The coroutine of such a call, without a deadline, may start in one task and continue in
        another. False for the name of a route.
        """

    def broadcast(
        self, deployment: DeploymentId, call: Call
    ) -> Awaitable[list[Reply | BaseException]]:
        """Send a call to every running replica; return the replies and exceptions.

        A broadcast bypasses the queue and the caller layers of plugins. Set `Call.bypass_limit` to
        bypass the replicas' limits too.

        Raises (when awaited):
            DeploymentUnavailableError: No replica is running.
        """

    def replicas_of(self, deployment: DeploymentId) -> Sequence[ReplicaLoad]:
        """Return the replicas that accept this process's calls; () before the first call."""

    def watch_routes(self, changed: Callable[[RouteTable], None]) -> None:
        """Call `changed` with the route table, as soon as it is known and at every change."""

    def watch_applications(self, changed: Callable[[ApplicationTable], None]) -> None:
        """Call `changed` with the table of applications, once it is known and at every change.

        For services that call applications by name. Declare the service with
        `NodeServiceSpec(serves_applications=True)`, so that `serve.run` waits for its table.
        """

    def route_service(
        self, route: Route, failed: Callable[[Reply], bool] = lambda reply: False
    ) -> Service:
        """Return the service that calls the targets of a route.

        Each call goes to one target by weight, the same target for the same `routing_key`, through
        the layers around the route (`wrap_route`). For a route that is not `is_split`, returns
        `service` of its only target.

        Args:
            failed: Returns whether a reply stands for an error, as raised exceptions do.
        """

    def report(self, topic: str, value: object) -> None:
        """Send a value to the topic's receiver in the controller; it replaces the previous value.

        This process sends at most one message a second, with the latest value of each topic. After
        a restart of the controller, the latest values are sent again.

        Args:
            topic: Name of a plugin's `ReportTopic`.
            value: A value that the topic encodes, as JSON by default.

        Raises:
            PluginError: No plugin registers the topic, or the encoded value is too long.
        """

    async def send_report(self, topic: str, value: object) -> None:
        """Send a value to the topic's receiver in the controller at once; return on arrival.

        For values that must each arrive, such as the counts since the previous value. The value is
        sent once: after an error, send it again or add it to the next value.

        Args:
            topic: Name of a plugin's `ReportTopic`.
            value: A value that the topic encodes.

        Raises:
            PluginError: No plugin registers the topic, or the encoded value is too long.
            Exception: The controller does not answer. The value may have arrived.
        """

    def node_service(self, name: str) -> NodeServiceSender:
        """Return a sender of messages to a node service on this process's node.

        Raises:
            PluginError: No plugin registers a node service of that name.
        """

    def observe(self, kind: str, base: type[T], *subject: object) -> T | None:
        """Return the observer of a subject in this process; None where no meter observes it.

        The observer combines the observers of all meters, and its methods raise nothing. Call
        `observe` once for each subject, and skip all observer calls where it returns None.

        Args:
            kind: Name of the `Meter` method to call. A package may add kinds of its own: a meter
                without such a method observes nothing.
            base: The observer's class, with methods that do nothing.
            subject: Arguments of the method, such as the name of an ingress.
        """

    def submit(self, work: Awaitable[Any]) -> Future[Any]:
        """Run `work` on the loop from another thread."""

    def deployments_of(self, app: str) -> tuple[DeploymentId, ...]:
        """Return an application's deployments, ingress first; () for an unknown application.

        Blocks for a few milliseconds while the controller answers. From any thread.
        """
