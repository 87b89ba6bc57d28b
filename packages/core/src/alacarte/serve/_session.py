"""This process's tie to an instance: the cluster, the controller and the driver's runtime.

There is at most one for each process. It keeps an event loop in a background thread, on which the
driver's routers live; the functions here are called from the user's threads and wait for it.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import logging
import os
import threading
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from .._cluster.host import LoopThread
from .._cluster.protocol import ActorDied, Cluster, ClusterSilent
from .._logging import configure_logging
from .._model.blobs import pack, unpack
from .._model.sizes import check_size
from .._plugins import Plugins, check_same, load, missing_package
from .._process.runtime import InstanceAccess, ProcessRuntime
from .._settings import ConfigValues, resolve, secrets_in, without_secrets
from .._wire.failures import unpickle_error
from ..actors import ControllerProtocol, MissingBlobs
from ..errors import ConfigError, ConflictError, DeployTimeoutError, ServeError
from ..status import ServeStatus
from ..types import DeploymentId, Resource
from ._controller_calls import ControllerCalls
from ._end_watch import wait_ended
from ._ending import end_all
from ._waiting import tell_waiting, timed_out

__all__ = ["Session", "attach", "current", "end", "end_by_force", "loaded_plugins", "start"]

log = logging.getLogger("alacarte")
CLUSTERS = ("ray", "local")
_CLUSTER_VARIABLE = "ALACARTE_CLUSTER"
_DELETED_S = 60.0
_SHUTDOWN_RESTART_S = 15.0
"""For a controller that is to shut down to come back first; then its instance is ended by force."""
_STATUS_S = 5.0
"""For the status that an error is to hold, after the caller's own time is over."""
_ROUTES_S = 15.0
"""For this process to hear of routes that the controller has published."""
_HOLD_S = 5.0
"""How often an instance is told that the process lives that it is to end with."""
_RUNS = "serve.start(detached=True): an instance runs already; serve.connect() joins it."
_NOT_HELD = "serve.start(detached=False): an instance runs already; it stays as long as it was to."
T = TypeVar("T")
Key = tuple[str, str]

_session: Session | None = None
_lock = threading.RLock()


class Session:
    """A connection to a running instance.

    Attributes:
        plugins: What this process loaded, and what every process of the instance runs.
        runtime: For calls of this process.
        config: What the instance was started with, by section.
    """

    runtime: ProcessRuntime
    ended_elsewhere = False
    """Another process has ended the instance."""

    def __init__(self, cluster: Cluster, plugins: Plugins) -> None:
        self.plugins = plugins
        self.cluster = cluster
        self.config: Mapping[str, Any] = {}
        self.left = threading.Event()
        self._thread = LoopThread("alacarte-driver")
        self._calls = ControllerCalls(cluster, plugins)

    @property
    def started(self) -> bool:
        """This session started the instance, rather than join it."""
        return self._calls.started

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
        """Join the running instance, or start one.

        Args:
            config: To start one with; None to join a running one only.

        Returns:
            Whether there is an instance now.
        """
        return self.wait(self._begin(config))

    async def _begin(self, config: Mapping[str, Any] | None) -> bool:
        info = await self._calls.controller(start=config is not None).begin(config)
        if info is None:
            return False
        check_same(self.plugins.loaded, info.plugins)
        self.config = info.config
        _warn_of_differences(self.plugins, self.config, config)
        self.runtime = ProcessRuntime(
            InstanceAccess(
                self.cluster,
                info.instance,
                info.secret,
                self.config["cluster"]["max_message_bytes"],
            ),
            self.plugins,
            ConfigValues(self.plugins, self.config),
            node_id=info.node_id if self.cluster.kind == "local" else "",
            name=f"driver:{os.getpid()}:{id(self)}",
            decode_error=unpickle_error,
        )
        if self.cluster.kind == "ray":  # no other process can end a local instance
            self._thread.submit(self._notice_end(info.instance))
        return True

    async def _notice_end(self, instance: str) -> None:
        await wait_ended(self.cluster, instance)
        self.ended_elsewhere = True
        self.left.set()

    @property
    def controller(self) -> ControllerProtocol:
        """The controller, for `wait`. One that the cluster restarts is waited for; see `_outage`.

        Each call raises ActorDied for a controller that is gone for good, does not come up, or
        does not answer.
        """
        return self._calls.controller()

    def apply(
        self,
        *resources: Resource,
        replacing: Sequence[Resource | None] = (),
        wait: bool = True,
        timeout_s: float | None = None,
    ) -> None:
        """Apply resources, all or none, and wait until they run; see `Instance`.

        Args:
            timeout_s: How long to wait, None for no limit.

        Raises:
            DeployTimeoutError: Something does not run by then. It stays applied.
        """
        self._refuse_unreachable(resources)
        self._refuse_too_large(resources)
        keys = [(resource.kind, resource.name) for resource in resources]
        expected = dict(zip(keys, replacing, strict=True)) if replacing else {}
        work = self._applied_and_watched(expected, resources, wait=wait)
        try:
            self.wait(_within(timeout_s, work))
        except TimeoutError:
            if timeout_s is None:
                raise
            names = [resource.name for resource in resources]
            raise self._timed_out(names, timeout_s) from None

    async def _applied_and_watched(
        self,
        expected: Mapping[Key, Resource | None],
        resources: Sequence[Resource],
        *,
        wait: bool,
    ) -> None:
        wishes = await self._apply(expected, resources)
        if expected:
            # Whoever changes them next does so knowing of this change, and has it in his own.
            wishes = [""] * len(resources)
        if wait:
            await self._watched(resources, wishes)

    def _timed_out(self, names: Sequence[str], timeout_s: float) -> DeployTimeoutError:
        try:
            status = self.wait(_within(_STATUS_S, self.controller.status()))
        except (ServeError, TimeoutError):
            away = "The controller does not answer: its process has ended, or is very slow."
            return DeployTimeoutError(tuple(names), timeout_s, {}, (away,))
        return timed_out(status, names, timeout_s)

    async def _apply(
        self, expected: Mapping[Key, Resource | None], resources: Sequence[Resource]
    ) -> list[str]:
        """Have the controller store resources; send large byte strings only where it lacks them.

        Raises:
            ConflictError: A byte string is gone that a resource of the controller's had.
        """
        packed = pack((expected, resources))
        blobs: dict[str, bytes] = {}
        while True:
            answer = await self.controller.apply(packed.data, tuple(packed.sizes), blobs)
            if not isinstance(answer, MissingBlobs):
                return answer
            if answer.digests - packed.blobs.keys():
                raise ConflictError(resources[0].kind, resources[0].name)
            blobs |= {digest: packed.blobs[digest] for digest in answer.digests}

    def _refuse_unreachable(self, resources: Sequence[Resource]) -> None:
        """Raise PluginError for a path where no installed package answers HTTP."""
        if self.plugins.gives_routes:
            return
        for resource in resources:
            kind = self.plugins.resource_kinds.get(resource.kind)
            for route in () if kind is None else kind.expand(resource).routes:
                if route.prefix:
                    what = f"{resource.kind} {resource.name}: the path {route.prefix}"
                    raise missing_package("route_prefix", what)

    def _refuse_too_large(self, resources: Sequence[Resource]) -> None:
        """Raise ConfigError, before anything is sent, for a deployment that is too large."""
        limit_bytes = self.config["cluster"]["max_bound_bytes"]
        for resource in resources:
            kind = self.plugins.resource_kinds.get(resource.kind)
            for spec in () if kind is None else kind.expand(resource).deployments:
                check_size(spec, limit_bytes)

    async def _applied(self, resources: Sequence[Resource], wishes: Sequence[str]) -> None:
        waits: list[asyncio.Task[int]] = [
            asyncio.create_task(self.controller.applied(resource.kind, resource.name, wish))
            for resource, wish in zip(resources, wishes, strict=True)
        ]
        try:
            # The first that fails is told at once, whatever the others wait for.
            for done in asyncio.as_completed(waits):
                await self._know(await done)
        finally:
            for each in waits:
                each.cancel()

    async def _watched(self, resources: Sequence[Resource], wishes: Sequence[str]) -> None:
        """Return when resources run; say meanwhile what they wait for, where nobody else does."""
        # Ray shows the controller's own lines to the program that started it, and to no other.
        telling = None
        if not self.started:
            names = [resource.name for resource in resources]
            telling = asyncio.create_task(tell_waiting(self.controller.status, names))
        try:
            await self._applied(resources, wishes)
        finally:
            if telling is not None:
                telling.cancel()

    async def _know(self, version: int) -> None:
        """Return when calls of this process, too, take the routes of a version."""
        async with asyncio.timeout(_ROUTES_S):
            await self.runtime.routes_known(version)

    def delete(self, kind: str, name: str, *, wait: bool = True) -> bool:
        """Delete a resource; return whether there was one.

        Raises:
            ConfigError: Another resource needs it.
            TimeoutError: Something of it is left after a minute.
        """
        found = self.wait(self.controller.delete(kind, name))
        if wait:
            try:
                self.wait(_within(_DELETED_S, self._deleted(kind, name)))
            except TimeoutError:
                raise TimeoutError(
                    f"{kind} {name!r} is deleted, but something of it still runs after "
                    f"{_DELETED_S:g} s; it goes on ending. Its requests may take until their "
                    "deployment's graceful_shutdown_timeout_s."
                ) from None
        return found

    async def _deleted(self, kind: str, name: str) -> None:
        await self._know(await self.controller.deleted(kind, name))

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
            ClusterSilent: The cluster is gone, and its processes end with it.
            ServeError: Something is still there.
        """
        if not self.cluster.is_reachable():
            self.leave()
            raise ClusterSilent(
                "Ray's control store takes no connections any more, so nothing could be shut down "
                "in order; the processes end with their Ray."
            )
        try:
            self.wait(self._calls.controller(restart_s=_SHUTDOWN_RESTART_S).shutdown())
        except ServeError as error:
            log.warning("%s. All processes are ended now.", str(error).rstrip("."))
        finally:
            # The controller itself, and whatever it did not end, interrupted as it may be.
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
        self.wait(self.controller.hold())
        self._thread.submit(self._hold())

    async def _hold(self) -> None:
        while True:
            await asyncio.sleep(_HOLD_S)
            try:
                await self.controller.hold()
            except Exception as error:  # it is told again, as long as this process lives
                log.debug("the controller was not told that this process lives: %r", error)

    def leave(self) -> None:
        """Let the instance run on without us."""
        if hasattr(self, "runtime"):
            self._thread.submit(self.runtime.close()).result()
        self._thread.stop()
        self.left.set()


async def _within(limit_s: float | None, work: Coroutine[Any, Any, T]) -> T:
    async with asyncio.timeout(limit_s):
        return await work


def current() -> Session | None:
    """Return this process's session, None when it has none."""
    if _session is not None and _is_over(_session):
        with _lock:
            _forget_ended()
    return _session


def _is_over(session: Session) -> bool:
    return session.ended_elsewhere or not session.cluster.is_connected


def _forget_ended() -> bool:
    """Leave an instance that is out of reach, so that the next one can be joined.

    Another process has ended it, or `ray.shutdown()` has ended this process's connection.

    Returns:
        Whether it was the connection that ended: the instance may go on.
    """
    global _session
    session = _session
    if session is None or not _is_over(session):
        return False
    _session = None
    session.leave()
    return not session.cluster.is_connected


@functools.lru_cache(maxsize=1)
def loaded_plugins() -> Plugins:
    """Return the plugins of this process, loaded once."""
    return load()


def start(
    cluster: str | None,
    address: str | None,
    options: Mapping[str, Any],
    *,
    wait: bool,
    detached: bool | None = None,
    foreground: bool = False,
) -> Session:
    """Return this process's session, and start what is missing of the instance.

    Args:
        cluster: `"ray"` or `"local"`; by default what `ALACARTE_CLUSTER` says, else Ray.
        address: Of the Ray cluster.
        options: Configuration, by keyword of `serve.start`.
        wait: Return only when the node services are up.
        detached: False for an instance that ends with this process, True for one that must not run
            already.
        foreground: Take the sections' defaults for a program that shows what happens.
    """
    global _session
    kind = _kind(cluster)
    with _lock:
        _forget_ended()
        if _session is None:
            configure_logging()
            plugins = loaded_plugins()
            # Before anything is started: a bad option must leave nothing behind.
            config = resolve(plugins, options, foreground=foreground)
            if _starts_cluster(kind, address):
                plugins.check_start(ConfigValues(plugins, config))
            session = Session(_connect(kind, address), plugins)
            try:
                session.begin(config)
                if detached and not session.started:
                    raise ServeError(_RUNS)
                bound = detached is False and session.started
                if bound:
                    session.hold()
                elif detached is False:
                    log.warning(_NOT_HELD)
                if wait:
                    session.wait(session.controller.ready())
            except BaseException:
                session.give_up()
                raise
            _session = session
            if kind == "local" or bound:
                atexit.register(_end_if_current, session)
            return session
        if detached:
            raise ServeError(_RUNS)
        if detached is False:
            log.warning(_NOT_HELD)
        if cluster is not None and _session.cluster.kind != kind:
            raise ConfigError(
                f"this process runs on the {_session.cluster.kind} cluster already; "
                f"serve.shutdown() first to use {kind!r}."
            )
        given = {name: value for name, value in options.items() if value is not None}
        if given:
            _warn_of_differences(
                _session.plugins, _session.config, resolve(_session.plugins, given)
            )
        session = _session
    if wait:
        session.wait(session.controller.ready())
    return session


def attach(address: str | None = None) -> Session | None:
    """Return the session, joining an instance that runs; None when none does. Starts nothing."""
    global _session
    with _lock:
        _forget_ended()
        if _session is not None or _kind(None) == "local":
            # A local cluster is its own process's: there is none to join from another.
            return _session
        from .._cluster.ray import RayCluster  # Ray takes a second to import

        cluster = RayCluster.connect(address, only_running=True)
        if cluster is None:
            return None
        configure_logging()
        session = Session(cluster, loaded_plugins())
        try:
            found = session.begin(None)
        except BaseException:
            session.leave()
            raise
        if not found:
            session.leave()
            return None
        _session = session
        return session


def end() -> bool:
    """Shut the instance down; return whether there was one."""
    global _session
    with _lock:
        if _forget_ended() and _connected():
            attach()  # where `ray.init()` leads now: to the same instance, to another or to none
        session, _session = _session, None
        if session is None:
            return False
        session.shut_down()
        return True


def _end_if_current(session: Session) -> None:
    """Shut an instance down at the end of the process, unless it has another one by then."""
    if _session is session:
        end()


def end_by_force(address: str | None = None) -> bool:
    """End every process of the instance at once; return whether there was a cluster to look on.

    Asks nobody: it works with a controller that hangs, and with the rests of an instance that
    has none any more.
    """
    global _session
    with _lock:
        _forget_ended()
        session, _session = _session, None
        if session is None:
            if _kind(None) == "local":
                return False
            from .._cluster.ray import RayCluster  # Ray takes a second to import

            cluster = RayCluster.connect(address, only_running=True)
            if cluster is None:
                return False
            session = Session(cluster, loaded_plugins())
        session.end_at_once()
        return True


def _kind(cluster: str | None) -> str:
    kind = cluster or os.environ.get(_CLUSTER_VARIABLE) or CLUSTERS[0]
    if kind not in CLUSTERS:
        raise ConfigError(f"cluster={kind!r}: there are {', '.join(map(repr, CLUSTERS))}.")
    return kind


def _connected() -> bool:
    """Return whether this process is connected to a Ray cluster."""
    from .._cluster.ray import RayCluster  # Ray takes a second to import

    return RayCluster.connected()


def _starts_cluster(kind: str, address: str | None) -> bool:
    """Return whether a cluster will be started here, rather than a running one be joined."""
    if kind == "local":
        return True
    from .._cluster.ray import RayCluster  # Ray takes a second to import

    return not _connected() and RayCluster.find(address) is None


def _connect(kind: str, address: str | None) -> Cluster:
    if kind == "local":
        from .._cluster.local import LocalCluster

        return LocalCluster()
    from .._cluster.ray import RayCluster  # Ray takes a second to import

    cluster = RayCluster.connect(address)
    assert cluster is not None
    return cluster


def _warn_of_differences(
    plugins: Plugins, running: Mapping[str, Any], asked: Mapping[str, Any] | None
) -> None:
    """Say which options came too late: they are fixed when an instance starts.

    Secrets are not compared: drivers are not told those of the running instance.
    """
    comparable = without_secrets(asked or {}, secrets_in(plugins, asked or {}))
    for name, section in comparable.items():
        differing = {key for key, value in section.items() if running[name].get(key) != value}
        if differing:
            log.warning(
                "the running instance keeps its own %s options; %s cannot change before "
                "serve.shutdown()",
                name,
                ", ".join(sorted(differing)),
            )
