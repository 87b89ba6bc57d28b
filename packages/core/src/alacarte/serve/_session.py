"""The session of a driver: a blocking connection to an instance.

The session has an event loop in a background thread, on which the driver's routers live. The
user's threads call the session's methods, which wait for that loop.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from typing import Any, TypeVar

from .._cluster.cluster_protocol import ActorDied, Cluster, ClusterUnresponsive
from .._cluster.loop_thread import LoopThread, Work
from .._model.blobs import unpack
from .._model.plan import Plan
from .._model.sizes import check_size
from .._plugins import Plugins, missing_package
from .._process.controller_client import OtherInstance
from .._process.controller_retry import RetryLimits
from .._process.process_runtime import ProcessRuntime
from .._section_values import Config
from ..actors import ControllerProtocol
from ..errors import DeployTimeoutError, ServeError
from ..status import ServeStatus
from ..types import DeploymentId, Resource
from ._controller_connection import ControllerConnection
from ._forced_shutdown import kill_all
from ._waiting import timed_out

__all__ = ["Session", "within"]

log = logging.getLogger("alacarte")
_DELETED_S = 60.0
_SHUTDOWN = RetryLimits(restart_s=15.0)
"""For a restarting controller to take the shutdown; after this time its instance is killed."""
_STATUS_S = 5.0
"""For the status in the error of a timeout, after the caller's own time is over."""
T = TypeVar("T")


class Session:
    """A driver's connection to a running instance, with a thread for its event loop."""

    ended_elsewhere = False
    """Whether another process has ended the instance."""

    def __init__(self, cluster: Cluster, plugins: Plugins) -> None:
        self._ended = threading.Event()
        self._thread = LoopThread("alacarte-driver")
        self._connection = ControllerConnection(cluster, plugins)

    @property
    def cluster(self) -> Cluster:
        """The cluster that the instance runs on."""
        return self._connection.cluster

    @property
    def plugins(self) -> Plugins:
        """The plugins that this process and every process of the instance run."""
        return self._connection.plugins

    @property
    def config(self) -> Config:
        """The configuration that the instance was started with, by section."""
        return self._connection.config

    @property
    def runtime(self) -> ProcessRuntime:
        """The runtime for calls of this process."""
        return self._connection.runtime

    @property
    def started(self) -> bool:
        """Whether this session started the instance, rather than joined it."""
        return self._connection.started

    @property
    def controller(self) -> ControllerProtocol:
        """The controller; pass the coroutines of its methods to `wait`.

        A call waits, and logs, while the controller restarts. It raises ActorDied when the
        controller is gone for good, does not come up, or does not answer.
        """
        return self._connection.controller()

    def wait(self, work: Work[T]) -> T:
        """Run a coroutine on the session's loop and return its result.

        Raises:
            ServeError: The controller is gone, or this process has left the instance.
        """
        try:
            future = self._thread.submit(work)
        except RuntimeError as error:
            raise ServeError(
                "this process has left the instance, or shut it down; call serve.start() to join "
                "or start one."
            ) from error
        try:
            result: T = future.result()
        except ActorDied as error:
            raise ServeError(f"the controller does not answer: {error}") from None
        except KeyboardInterrupt:
            future.cancel()
            raise
        return result

    def join(self, config: Config | None) -> bool:
        """Join the running instance, or start an instance; return whether one is running now.

        Args:
            config: Configuration of a new instance; None to start none.
        """
        found = self.wait(self._connection.join(config))
        if found and self.cluster.kind == "ray":  # no other process can end a local instance
            self._thread.submit(self._watch_end())
        return found

    async def _watch_end(self) -> None:
        await self._connection.wait_ended()
        self.ended_elsewhere = True
        self._ended.set()

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
            DeployTimeoutError: A resource does not run in time. All stay applied.
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
            cause = "The controller does not answer: its process has ended, or is very slow."
            return DeployTimeoutError(tuple(names), timeout_s, {}, (cause,))
        return timed_out(status, names, timeout_s)

    def _refuse_early(self, plan: Plan) -> None:
        """Check a plan before anything is sent, as the controller would check it.

        Raises:
            PluginError: A resource has a route, and no installed package serves HTTP.
            ConfigError: A deployment is too large.
        """
        for (kind, name), planned in plan.resources.items():
            if planned.prefix and not self.plugins.provides_routes:
                raise missing_package("route_prefix", f"{kind} {name}: the path {planned.prefix}")
        for spec in plan.deployments.values():
            check_size(spec, self.config["cluster"]["max_bound_bytes"])

    def delete(self, kind: str, name: str, *, wait: bool = True) -> bool:
        """Delete a resource; return whether there was one.

        Also False when the controller restarted after the deletion, before its answer.

        Raises:
            ConfigError: Another resource needs the resource.
            TimeoutError: Replicas of the resource still drain after a minute.
        """
        found = self.wait(self.controller.delete(kind, name))
        if wait:
            try:
                self.wait(within(_DELETED_S, self._connection.deleted(kind, name)))
            except TimeoutError:
                raise TimeoutError(
                    f"{kind} {name!r} is deleted, but its replicas still drain after "
                    f"{_DELETED_S:g} s, and continue to: each deployment's "
                    "graceful_shutdown_timeout_s limits how long its requests may take."
                ) from None
        return found

    def resources(self, kind: str) -> list[Resource]:
        """Return all resources of a kind, in the order of their creation."""
        found: list[Resource] = unpack(self.wait(self.controller.resources(kind)))
        return found

    def status(self) -> ServeStatus:
        """Return the status of the instance."""
        return self.wait(self.controller.status())

    def make_handle(self, deployment: DeploymentId) -> Any:
        """Return a handle to a deployment, or to a route.

        Raises:
            PluginError: No installed package provides handles.
        """
        return self.plugins.make_handle(deployment, self.runtime)

    @property
    def ended(self) -> bool:
        """Whether the instance has ended, or this process has left it."""
        return self._ended.is_set()

    def wait_ended(self, timeout_s: float | None = None) -> bool:
        """Wait for the end of the instance; see `Instance`."""
        return self._ended.wait(timeout_s)

    def shut_down(self) -> None:
        """Shut the instance down, then leave it; kill it if its controller does not answer.

        Raises:
            ClusterUnresponsive: The cluster is gone, and its processes end with it.
            ServeError: Some processes are still alive.
        """
        if not self.cluster.is_reachable():
            self.leave()
            raise ClusterUnresponsive(
                "Ray's control store accepts no connections, so alacarte could not shut down "
                "gracefully; its processes end when Ray does."
            )
        try:
            self.wait(self._connection.controller(_SHUTDOWN).shutdown())
        except OtherInstance:
            self.leave()  # this session's instance has ended; the other one keeps running
            return
        except ServeError as error:
            log.warning("%s. Killing all processes of the instance.", str(error).rstrip("."))
        except BaseException:
            self.kill()
            raise
        # The controller itself, and all actors that it has not ended.
        self.kill()

    def kill(self) -> None:
        """Kill all processes of the instance, the controller first, then leave the instance."""
        try:
            self.wait(kill_all(self.cluster))
        finally:
            self.leave()

    def abandon(self) -> None:
        """Leave the instance after a failed start, and shut it down if this session started it."""
        if self.started and self.cluster.is_reachable():
            self.shut_down()
        else:
            self.leave()

    def start_lease(self) -> None:
        """Take a lease on the instance, which ends when the lease is not renewed."""
        self.wait(self.controller.renew_lease())
        self._thread.submit(self._connection.renew_lease())

    def leave(self) -> None:
        """Disconnect from the instance, which keeps running."""
        if hasattr(self._connection, "runtime"):
            self._thread.submit(self.runtime.stopping()).result()
            self._thread.submit(self.runtime.close()).result()
        self._thread.stop()
        self._ended.set()


async def within(limit_s: float | None, work: Work[T]) -> T:
    """Await work for at most `limit_s` seconds, None for no limit."""
    async with asyncio.timeout(limit_s):
        return await work
