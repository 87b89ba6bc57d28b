"""The means of one process for calling deployments."""

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
    """Which process of a node service this is, and how it meets its siblings on the node.

    Attributes:
        index: From 0; a successor has its predecessor's.
        facts: What the last process that was up in this place, or else a sibling, returned from
            `start`. Empty the first time.
    """

    index: int
    facts: Mapping[str, str]

    def new_socket(self) -> str:
        """Return a path for a Unix socket that siblings will find.

        It lies in a directory that only this user can enter. Remove it in `stop`.
        """

    def sibling_sockets(self) -> list[str]:
        """Return the sockets of other living processes of this service on this node."""


class NodeServiceSender(Protocol):
    """The way to the processes of a node service on this process's node."""

    async def send(self, message: bytes) -> list[bytes]:
        """Send a message to each process of the service; return their answers, in any order.

        An actor call: about a millisecond on Ray. For control, not for requests.

        Each process takes the message once or not at all; it is never sent again to a process that
        may have acted on it. A process that is starting is waited for, 10 s at most. One that is
        being replaced takes messages until its successor has started, so that for a moment both
        may answer.

        Args:
            message: 1 MiB at most.

        Raises:
            NotFoundError: No process of the service runs on this node, or none has started within
                10 s.
            ActorDied: A process ended before it answered, and may have acted on the message; the
                others have taken it. From `alacarte.actors`.
            PluginError: The service takes no messages, or the message is too long.
            TimeoutError: A process has not answered for 30 s.
        """


class Runtime(Protocol):
    """What one process offers to the parts that make calls: handles, proxies, clients.

    One per process that calls deployments; in the local cluster, one per actor and one for
    the driver. Methods are to be called on `loop`, except `submit`, which is for other threads.
    """

    loop: asyncio.AbstractEventLoop
    config: ConfigSections
    node_id: str
    process: ProcessInfo

    @property
    def hooks(self) -> Hooks:
        """The hooks of this process, for plugins that bring some."""

    @property
    def place(self) -> ServiceContext | None:
        """Which process of a node service this is; None in a driver or a replica."""

    def service(self, deployment: DeploymentId) -> Service:
        """Return the way to that deployment: every caller layer, then the router.

        The same object is returned each time. Calls wait, bounded, while the deployment has
        no replica.
        """

    def is_task_free(self, deployment: DeploymentId) -> bool:
        """Whether calls to that deployment do not depend on the task they run in.

        The coroutine of such a call, unless it has a deadline, may be begun in one task and carried
        on in another. False for a route by its name.
        """

    def broadcast(
        self, deployment: DeploymentId, call: Call
    ) -> Awaitable[list[Reply | BaseException]]:
        """Make a call at every replica that runs; return what each answered, or raised.

        It passes by the queue and by the layers of plugins, which stand around calls that go to
        one replica. `Call.bypass_limit` is for this.

        Raises (when awaited):
            DeploymentUnavailableError: No replica runs.
        """

    def replicas_of(self, deployment: DeploymentId) -> Sequence[ReplicaLoad]:
        """Return the replicas that calls from here may go to now; () before the first call."""

    def watch_routes(self, changed: Callable[[RouteTable], None]) -> None:
        """Call `changed` with the route table now, as soon as known, and at every change."""

    def watch_applications(self, changed: Callable[[ApplicationTable], None]) -> None:
        """Call `changed` with the table of applications now, as soon as known, and at every change.

        For services that reach applications by name. Declare the service with
        `NodeServiceSpec(serves_applications=True)`, so that `serve.run` waits for its table.
        """

    def route_service(
        self, route: Route, failed: Callable[[Reply], bool] = lambda reply: False
    ) -> Service:
        """Return the way to a route's targets.

        Each call takes one of them by its weight, always the same for the same `routing_key`, and
        passes what plugins put around the route (`wrap_route`). For a route that is not `is_split`,
        the same as `service` of its only target.

        Args:
            failed: Says whether a reply stands for an error, besides those that are raised.
        """

    def report(self, topic: str, value: Any) -> None:
        """Bring a value to the topic's receiver in the controller, in place of the last one.

        At most one message a second leaves this process: of values that change faster, the latest
        is sent. A restarted controller is sent every topic's latest value again.

        Args:
            topic: Name of a `ReportTopic` of some plugin.
            value: Whatever the topic encodes: JSON, unless it says otherwise.

        Raises:
            PluginError: No plugin registers the topic, or the encoded value is too long.
        """

    async def send_report(self, topic: str, value: Any) -> None:
        """Send a value to the topic's receiver in the controller now, and return when it is there.

        For values that must each arrive, such as what has happened since the last one. Sent once:
        whoever calls this sends it again, or counts it into the next one.

        Args:
            topic: Name of a `ReportTopic` of some plugin.
            value: Whatever the topic encodes.

        Raises:
            PluginError: No plugin registers the topic, or the encoded value is too long.
            Exception: The controller does not answer. The value may have arrived.
        """

    def node_service(self, name: str) -> NodeServiceSender:
        """Return the way to the processes of a node service on this process's node.

        Raises:
            PluginError: No plugin registers a node service of that name.
        """

    def observe(self, kind: str, base: type[T], *subject: object) -> T | None:
        """Return what plugins observe of a subject in this process; None where none asks.

        The observers that the meters of this process give, as one. Its methods raise nothing. Ask
        once for each subject, and call nothing where the answer is None.

        Args:
            kind: Name of the `Meter` method to ask. A package may add kinds of its own: a meter
                without such a method observes nothing.
            base: The observer's class, whose methods do nothing by themselves.
            subject: Arguments of the method, such as the name of an ingress.
        """

    def submit(self, work: Awaitable[Any]) -> Future[Any]:
        """Run `work` on the loop from another thread."""

    def deployments_of(self, app: str) -> tuple[DeploymentId, ...]:
        """Return an application's deployments, its ingress first; () for no such application.

        Asks the controller and blocks meanwhile, a few milliseconds. From any thread.
        """
