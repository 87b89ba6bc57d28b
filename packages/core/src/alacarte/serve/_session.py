"""A driver's session: its connection to an instance, for the user's threads.

It keeps an event loop in a background thread, on which the driver's routers live. Its methods are
called from the user's threads and wait for that loop.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from .._cluster.cluster_protocol import ActorDied, Cluster, ClusterUnresponsive
from .._cluster.host import LoopThread
from .._model.blobs import unpack
from .._model.plan import Plan
from .._model.sizes import check_size
from .._plugins import Plugins, missing_package
from .._process.controller_client import OtherInstance
from .._process.outage import Patience
from .._process.process_runtime import ProcessRuntime
from ..actors import ControllerProtocol
from ..errors import DeployTimeoutError, ServeError
from ..status import ServeStatus
from ..types import DeploymentId, Resource
from ._controller_connection import ControllerConnection
from ._forced_shutdown import end_all
from ._waiting import timed_out

__all__ = ["Session", "within"]

log = logging.getLogger("alacarte")
_DELETED_S = 60.0
_SHUTDOWN = Patience(restart_s=15.0)
"""For a controller that is to shut down to come back first; then its instance is ended by force."""
_STATUS_S = 5.0
"""For the status that an error is to hold, after the caller's own time is over."""
T = TypeVar("T")


class Session:
    """A connection to a running instance, with a thread for its event loop."""

    ended_elsewhere = False
    """Another process has ended the instance."""

    def __init__(self, cluster: Cluster, plugins: Plugins) -> None:
        self.left = threading.Event()
        self._thread = LoopThread("alacarte-driver")
        self._connection = ControllerConnection(cluster, plugins)

    @property
    def cluster(self) -> Cluster:
        """The cluster that the instance runs on."""
        return self._connection.cluster

    @property
    def plugins(self) -> Plugins:
        """The plugins that this process loaded, and that every process of the instance runs."""
        return self._connection.plugins

    @property
    def config(self) -> Mapping[str, Any]:
        """The sections that the instance was started with."""
        return self._connection.config

    @property
    def runtime(self) -> ProcessRuntime:
        """The runtime for calls of this process."""
        return self._connection.runtime

    @property
    def started(self) -> bool:
        """This session started the instance, rather than join it."""
        return self._connection.started

    @property
    def controller(self) -> ControllerProtocol:
        """The controller, for `wait`. A call waits out its restart, and says so.

        Each call raises ActorDied for a controller that is gone for good, does not come up, or
        does not answer.
        """
        return self._connection.controller()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the session's loop and return its result.

        Raises:
            ServeError: The controller is gone, or this process has left the instance.
        """
        try:
            future = self._thread.submit(work)
        except RuntimeError as error:
            raise ServeError(
                "this process has left the instance, or shut it down; serve.start() or "
                "serve.connect() begins again."
            ) from error
        try:
            result: T = future.result()
        except ActorDied as error:
            raise ServeError(f"the controller does not answer: {error}") from None
        except KeyboardInterrupt:
            future.cancel()
            raise
        return result

    def begin(self, config: Mapping[str, Any] | None) -> bool:
        """Join the running instance, or start one; return whether there is an instance now.

        Args:
            config: To start one with; None to join a running one only.
        """
        found = self.wait(self._connection.join(config))
        if found and self.cluster.kind == "ray":  # no other process can end a local instance
            self._thread.submit(self._notice_end())
        return found

    async def _notice_end(self) -> None:
        await self._connection.wait_ended()
        self.ended_elsewhere = True
        self.left.set()

    def apply(
        self,
        *resources: Resource,
        expected: Sequence[Resource | None] = (),
        wait: bool = True,
        timeout_s: float | None = None,
    ) -> None:
        """Apply resources, all or none, and wait until they run; see `Instance`.

        Args:
            timeout_s: How long to wait, None for no limit.

        Raises:
            DeployTimeoutError: Something does not run by then. It stays applied.
        """
        keys = [(resource.kind, resource.name) for resource in resources]
        changed = dict(zip(keys, resources, strict=True))
        self._refuse_early(Plan.of(changed, self.plugins.resource_kinds))
        by_key = dict(zip(keys, expected, strict=True)) if expected else {}
        work = self._connection.apply(by_key, resources, wait=wait)
        try:
            self.wait(within(timeout_s, work))
        except TimeoutError:
            if timeout_s is None:
                raise
            names = [resource.name for resource in resources]
            raise self._timed_out(names, timeout_s) from None

    def _timed_out(self, names: Sequence[str], timeout_s: float) -> DeployTimeoutError:
        try:
            status = self.wait(within(_STATUS_S, self.controller.status()))
        except (ServeError, TimeoutError):
            away = "The controller does not answer: its process has ended, or is very slow."
            return DeployTimeoutError(tuple(names), timeout_s, {}, (away,))
        return timed_out(status, names, timeout_s)

    def _refuse_early(self, plan: Plan) -> None:
        """Refuse what the controller would refuse, before anything is sent.

        Raises:
            PluginError: No installed package answers HTTP at the path of a resource.
            ConfigError: A deployment is too large.
        """
        for (kind, name), planned in plan.resources.items():
            if planned.prefix and not self.plugins.gives_routes:
                raise missing_package("route_prefix", f"{kind} {name}: the path {planned.prefix}")
        for spec in plan.deployments.values():
            check_size(spec, self.config["cluster"]["max_bound_bytes"])

    def delete(self, kind: str, name: str, *, wait: bool = True) -> bool:
        """Delete a resource; return whether there was one.

        False, too, where the controller was restarted after it had deleted the resource and before
        it could say so.

        Raises:
            ConfigError: Another resource needs it.
            TimeoutError: Something of it is left after a minute.
        """
        found = self.wait(self.controller.delete(kind, name))
        if wait:
            try:
                self.wait(within(_DELETED_S, self._connection.deleted(kind, name)))
            except TimeoutError:
                raise TimeoutError(
                    f"{kind} {name!r} is deleted, but something of it still runs after "
                    f"{_DELETED_S:g} s; it goes on ending. Its requests may take until their "
                    "deployment's graceful_shutdown_timeout_s."
                ) from None
        return found

    def resources(self, kind: str) -> list[Resource]:
        """Return all resources of a kind, in the order in which they were made."""
        found: list[Resource] = unpack(self.wait(self.controller.resources(kind)))
        return found

    def status(self) -> ServeStatus:
        """Return how everything is doing."""
        return self.wait(self.controller.status())

    def make_handle(self, deployment: DeploymentId) -> Any:
        """Return a handle to a deployment, or to a route.

        Raises:
            PluginError: No installed package gives handles.
        """
        return self.plugins.make_handle(deployment, self.runtime)

    @property
    def ended(self) -> bool:
        """The instance has ended, or this process has left it."""
        return self.left.is_set()

    def wait_ended(self, timeout_s: float | None = None) -> bool:
        """Wait for the end of the instance; see `Instance`."""
        return self.left.wait(timeout_s)

    def shut_down(self) -> None:
        """Stop the instance, then leave it. By force where its controller does not answer.

        Raises:
            ClusterUnresponsive: The cluster is gone, and its processes end with it.
            ServeError: Something is still there.
        """
        if not self.cluster.is_reachable():
            self.leave()
            raise ClusterUnresponsive(
                "Ray's control store takes no connections any more, so nothing could be shut down "
                "in order; the processes end with their Ray."
            )
        try:
            self.wait(self._connection.controller(_SHUTDOWN).shutdown())
        except OtherInstance:
            self.leave()  # ours has ended, and the other one goes on
            return
        except ServeError as error:
            log.warning("%s. All processes are ended now.", str(error).rstrip("."))
        except BaseException:
            self.end_at_once()
            raise
        # The controller itself, and whatever it did not end.
        self.end_at_once()

    def end_at_once(self) -> None:
        """End every process of the instance, its controller first, then leave it."""
        try:
            self.wait(end_all(self.cluster))
        finally:
            self.leave()

    def give_up(self) -> None:
        """Leave nothing behind of an instance that this session has just started."""
        if self.started and self.cluster.is_reachable():
            self.shut_down()
        else:
            self.leave()

    def hold(self) -> None:
        """Have the instance end with this process, however it ends."""
        self.wait(self.controller.renew_lease())
        self._thread.submit(self._connection.renew_lease())

    def leave(self) -> None:
        """Let the instance run on without us."""
        if hasattr(self._connection, "runtime"):
            self._thread.submit(self.runtime.stopping()).result()
            self._thread.submit(self.runtime.close()).result()
        self._thread.stop()
        self.left.set()


async def within(limit_s: float | None, work: Coroutine[Any, Any, T]) -> T:
    """Await work for so many seconds at most, None for no limit."""
    async with asyncio.timeout(limit_s):
        return await work
