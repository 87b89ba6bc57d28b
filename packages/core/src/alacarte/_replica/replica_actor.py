"""The replica: one process with a copy of the user's class or function.

The controller starts it, reconfigures it and stops it through these methods; requests come in at
its own sockets. All of it runs on the replica's event loop, the user's async code included.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Mapping
from typing import Any

from .._cluster.cluster_protocol import ActorContext
from .._cluster.host import freeze_gc, socket_path
from .._logging import name_process
from .._model.pickling import load_code, load_init
from .._process.layered_service import failing_service
from .._process.lifetime import Lifetime
from .._process.process_runtime import InstanceAccess, ProcessRuntime
from .._settings import SectionValues, describe_deployment
from .._wire.error_codec import unpickle_error, user_traceback
from .._wire.listener import Listener
from .._wire.observed_connection import observed_connection
from .._wire.replica_connection import ReplicaConnection
from ..actors import Liveness, Membership, ReplicaInfo
from ..context import ReplicaContext, current_replica, current_runtime
from ..errors import DeployError
from ..foreign import describe_error, is_cancellation
from ..layers import compose
from ..types import (
    Address,
    DeploymentId,
    ProcessInfo,
    ReplicaObserver,
    Service,
    WireObserver,
)
from .advertised import Advertised
from .loop_watch import LoopWatch
from .python_protocol import PythonProtocol
from .replica_spec import ReplicaSpec
from .server import DataServer
from .user_object import UserObject

__all__ = ["ReplicaActor"]

log = logging.getLogger("alacarte.replica")
_FLUSH_S = 3.0


class ReplicaActor:
    """A replica. Made and called through the cluster.

    Args:
        membership: What makes this process one of the instance.
    """

    def __init__(self, context: ActorContext, spec: ReplicaSpec, membership: Membership) -> None:
        self._context = context
        self._spec = spec
        self._membership = membership
        self._config = SectionValues(context.plugins, membership.config)
        self._runtime = ProcessRuntime(
            InstanceAccess.of(membership, context.cluster),
            context.plugins,
            self._config,
            process=ProcessInfo("replica", spec.replica_id, context.node.node_id),
            decode_error=unpickle_error,
        )
        self._user_config = spec.user_config
        self._options = spec.options
        self._is_closed = False
        self._advertised = Advertised()
        self._here = ReplicaContext(
            spec.deployment,
            spec.replica_id,
            code_version=spec.version,
            _publish=self._advertised.publish,
            _max_ongoing=spec.max_ongoing,
        )
        self._lifetime = Lifetime(
            context.plugins,
            "on_replica",
            f"replica {spec.replica_id}",
            replica=self._here,
            runtime=self._runtime,
        )
        if context.cluster.kind != "local":
            name_process(self._here)
        self._user: UserObject | None = None
        self._server: DataServer | None = None
        self._listener: Listener | None = None
        self._address: Address | None = None
        self._watch: LoopWatch | None = None
        self._stopping: asyncio.Task[None] | None = None

    async def start(self) -> ReplicaInfo:
        """Construct the user's object, and listen.

        Raises:
            DeployError: The user's code could not be loaded, or raised; its traceback begins
                at the user's own frame.
        """
        current_runtime.set(self._runtime)
        current_replica.set(self._here)
        try:
            self._user = await self._construct()
            services = self._services(self._user, self._options)
            for callback in self._here._opening:
                await callback()
            self._lifetime.begin()
        except BaseException as error:  # the user's code
            if is_cancellation(error):
                raise
            raise DeployError(_told(self._spec.deployment, error)) from None
        self._server = self._serve(services)
        self._user.slots = self._server
        self._address = await self._listen(self._server)
        freeze_gc(self._context.cluster)
        # Not before: a constructor may take its time, no request waits for it.
        limit_s = self._config.section("cluster").blocked_loop_warning_s
        self._watch = LoopWatch(f"{self._spec.deployment} {self._spec.replica_id}", limit_s)
        self._watch.start()
        started = self.describe()
        assert started is not None
        return started

    def describe(self) -> ReplicaInfo | None:
        """Return what the controller must know of a replica that is ready, None before.

        Answered by the host's thread, whatever user code is busy with.
        """
        if self._address is None or self._server is None:
            return None
        return ReplicaInfo(
            self._spec.deployment,
            self._spec.replica_id,
            self._spec.version,
            self._address,
            self._context.node.node_id,
            os.getpid(),
            self._server.max_ongoing,
            self._user_config,
            self._user is not None and self._user.checks_itself,
            self._stopping is not None,
            self._options,
        )

    def membership(self) -> Membership:
        """Return what this process was given, for a controller that has just come up without.

        An answer of its own: beside a large `user_config`, Ray could write it to the disk.
        Answered by the host's thread, as `describe` is.
        """
        return self._membership

    def probe_liveness(self) -> Liveness:
        """Return how the replica is doing. Answered by the host's thread, as `describe` is."""
        server, watch = self._server, self._watch
        if server is None or watch is None:
            return Liveness(0.0, 0, 0, self._spec.max_ongoing)
        leaving = self._stopping is not None
        return Liveness(watch.age_s, server.ongoing, server.abandoned, server.max_ongoing, leaving)

    async def check_health(self) -> None:
        """Run the user's `check_health`.

        Raises:
            DeployError: It raised.
        """
        current_runtime.set(self._runtime)
        current_replica.set(self._here)
        if self._user is not None:
            try:
                await self._user.check_health()
            except BaseException as error:  # the user's code
                if is_cancellation(error):
                    raise
                raise DeployError(_told(self._spec.deployment, error)) from None

    async def reconfigure(
        self, max_ongoing: int, user_config: Any, options: Mapping[str, Any]
    ) -> None:
        """Take over what needs no restart.

        Calls fail from a build of the layers that fails to one that succeeds: the layer that is
        missing may be there for authentication.
        """
        assert self._server is not None
        assert self._user is not None
        current_runtime.set(self._runtime)
        current_replica.set(self._here)
        if options != self._options or self._is_closed:
            try:
                self._server.services = self._services(self._user, options)
            except BaseException as error:  # foreign code
                failing = failing_service(self._spec.deployment, error)
                self._server.services = dict.fromkeys(self._server.services, failing)
                self._is_closed = True
                if is_cancellation(error):
                    raise
                raise DeployError(_told(self._spec.deployment, error)) from None
            self._is_closed = False
            self._options = options
        if max_ongoing != self._server.max_ongoing:
            self._server.max_ongoing = max_ongoing
            self._user.resize(max_ongoing)
            self._here._resize(max_ongoing)
        if user_config is not None and user_config != self._user_config:
            try:
                await self._user.reconfigure(user_config)
            except BaseException as error:  # the user's code
                if is_cancellation(error):
                    raise
                raise DeployError(_told(self._spec.deployment, error)) from None
            self._user_config = user_config

    async def stop(self, timeout_s: float) -> None:
        """Finish what is under way, no longer than `timeout_s`; then end the user's object.

        A controller may die meanwhile, and the next one ask again: it waits for the same end.
        """
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop(timeout_s))
        await asyncio.shield(self._stopping)

    async def _stop(self, timeout_s: float) -> None:
        if self._server is not None and self._listener is not None:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._server.drain()
            except TimeoutError:
                await self._server.cancel()
            self._listener.close()
            with contextlib.suppress(TimeoutError):
                # The process ends after this: what is still to be sent must be out by then.
                async with asyncio.timeout(_FLUSH_S):
                    await self._listener.wait_closed()
        if self._watch is not None:
            self._watch.stop()
        await self._run_closing()
        await self._lifetime.end()
        try:
            if self._user is not None:
                await self._user.close()
            await self._runtime.stopping()
        finally:
            await self._runtime.close()

    async def _run_closing(self) -> None:
        """Run what was given to `ReplicaContext.on_close`."""
        current_runtime.set(self._runtime)
        current_replica.set(self._here)
        for callback in reversed(self._here._closing):
            try:
                await callback()
            except BaseException as error:  # foreign code
                if is_cancellation(error):
                    raise
                log.exception("%s: closing failed", self._spec.deployment)

    async def abort(self) -> None:
        """Hang up at once, as the end of a process does."""
        if self._watch is not None:
            self._watch.stop()
        if self._listener is not None:
            self._listener.abort()
        # Calls it made elsewhere end there, too.
        await self._runtime.close()

    async def _construct(self) -> UserObject:
        spec = self._spec

        def make_handle(deployment: DeploymentId) -> Any:
            return self._context.plugins.make_handle(deployment, self._runtime)

        target = load_code(spec.code, make_handle)
        args, kwargs = load_init(spec.init, make_handle)
        user = UserObject(
            spec.deployment, target, is_function=spec.is_function, threads=spec.max_ongoing
        )
        await user.construct(args, kwargs)
        self._here.servable_object = user.instance
        if spec.user_config is not None:
            await user.reconfigure(spec.user_config)
        await user.check_health()
        return user

    def _services(self, user: UserObject, options: Mapping[str, Any]) -> dict[str, Service]:
        """Return the service of each protocol, inside the layers that plugins put around it."""
        plugins = self._context.plugins
        spec = self._spec
        info = describe_deployment(spec.deployment, spec.version, options, plugins)
        layers = [staged.layer for staged in plugins.wrap_replica(info, self._config)]
        protocols = [PythonProtocol(), *self._context.plugins.protocols.values()]
        return {protocol.name: compose(protocol.bind(user), layers) for protocol in protocols}

    def _serve(self, services: Mapping[str, Service]) -> DataServer:
        """Return the data server, one that is observed where a plugin asks."""
        deployment, max_ongoing = self._spec.deployment, self._spec.max_ongoing
        observer = self._runtime.observe("replica", ReplicaObserver, deployment)
        if observer is None:
            return DataServer(deployment, services, max_ongoing)
        from .observed_server import ObservedServer  # no other process has a use for it

        judge = self._runtime.failure_code
        return ObservedServer(deployment, services, max_ongoing, observer, judge)

    async def _listen(self, server: DataServer) -> Address:
        membership = self._membership
        transport = membership.config["cluster"]["transport"]
        wire = self._runtime.observe("wire", WireObserver, "replica")
        self._listener = server.listener = Listener(
            server,
            self._spec.replica_id,
            membership.secret,
            max_message=membership.config["cluster"]["max_message_bytes"],
            facts=lambda: {"replica": self._spec.replica_id, "pid": os.getpid()},
            kind=(
                ReplicaConnection if wire is None else observed_connection(ReplicaConnection, wire)
            ),
        )
        self._advertised.listen(self._listener)
        path, tcp = "", None
        if transport != "tcp":
            path = socket_path(self._context.socket_dir)
            await self._listener.listen_unix(path)
        if transport == "tcp" or (transport == "auto" and await self._spans_hosts()):
            tcp = await self._listener.listen_tcp(self._context.node.address)
        return Address(path, self._context.host_id, tcp)

    async def _spans_hosts(self) -> bool:
        nodes = await self._context.cluster.nodes()
        return len({node.address for node in nodes}) > 1


def _told(deployment: DeploymentId, error: BaseException) -> str:
    """Say what went wrong: the reason in the first line, then the user's traceback."""
    return f"{describe_error(error)}{_remedy(error)}\n{user_traceback(error)}"


def _remedy(error: BaseException) -> str:
    """Say how to bring a missing package to where the replica runs."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    package = error.name.partition(".")[0]
    return (
        f". Install the package that gives {package!r} on every node where replicas run, or name "
        f'it in ray_actor_options={{"runtime_env": {{"pip": [...]}}}}.'
    )
