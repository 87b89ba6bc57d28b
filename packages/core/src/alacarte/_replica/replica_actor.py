"""The replica's actor: a process with an instance of the user's class or function.

The controller starts, reconfigures and stops a replica through the actor's methods; calls arrive at
the replica's own sockets. Everything runs on the replica's event loop, the user's async code
included.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Mapping

from .._cluster.cluster_protocol import ActorContext
from .._cluster.garbage_collection import freeze_gc
from .._cluster.host_sockets import socket_path
from .._logging import name_process
from .._model.pickling import load_code, load_init
from .._process.lifetime import Lifetime
from .._process.process_runtime import InstanceAccess, ProcessRuntime
from .._section_values import SectionValues, describe_deployment
from .._wire.error_codec import unpickle_error, user_traceback
from .._wire.listener import Listener
from .._wire.observed_connection import observed_connection
from .._wire.replica_connection import ReplicaConnection
from ..actors import Liveness, Membership, ReplicaInfo
from ..context import ReplicaContext, current_replica, current_runtime
from ..errors import DeployError
from ..foreign import describe_error, is_cancellation
from ..layers import compose, failing_service
from ..types import (
    Address,
    DeploymentId,
    ProcessInfo,
    ReplicaObserver,
    Service,
    WireObserver,
)
from .advertiser import Advertiser
from .data_server import DataServer
from .loop_watch import LoopWatch
from .python_protocol import PythonProtocol
from .replica_spec import ReplicaSpec
from .user_object import UserObject

__all__ = ["ReplicaActor"]

log = logging.getLogger("alacarte.replica")
_FLUSH_TIMEOUT_S = 3.0


class ReplicaActor:
    """A replica. Created and called through the cluster.

    Args:
        membership: Secret and configuration of the instance.
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
        self._layers_failed = False
        self._advertiser = Advertiser()
        self._replica_context = ReplicaContext(
            spec.deployment,
            spec.replica_id,
            code_version=spec.version,
            _publish=self._advertiser.publish,
            _max_ongoing=spec.max_ongoing,
        )
        self._lifetime = Lifetime(
            context.plugins,
            "on_replica",
            f"replica {spec.replica_id}",
            replica=self._replica_context,
            runtime=self._runtime,
        )
        if context.cluster.kind != "local":
            name_process(self._replica_context)
        self._user: UserObject | None = None
        self._server: DataServer | None = None
        self._listener: Listener | None = None
        self._address: Address | None = None
        self._watch: LoopWatch | None = None
        self._stopping: asyncio.Task[None] | None = None

    async def start(self) -> ReplicaInfo:
        """Construct the user's object, and listen for calls.

        Raises:
            DeployError: The user's code could not be loaded, or raised; the traceback in the
                message begins at the user's own frame.
        """
        current_runtime.set(self._runtime)
        current_replica.set(self._replica_context)
        try:
            self._user = await self._construct()
            services = self._services(self._user, self._options)
            for callback in self._replica_context._opening:
                await callback()
            self._lifetime.begin()
        except BaseException as error:  # the user's code
            if is_cancellation(error):
                raise
            raise DeployError(_describe_failure(error)) from None
        self._server = self._serve(services)
        self._user.thread_counter = self._server
        self._address = await self._listen(self._server)
        freeze_gc(self._context.cluster)
        # After the constructor, which may block the loop, since no request waits.
        limit_s = self._config.section("cluster").blocked_loop_warning_s
        self._watch = LoopWatch(f"{self._spec.deployment} {self._spec.replica_id}", limit_s)
        self._watch.start()
        started = self.describe()
        assert started is not None
        return started

    def describe(self) -> ReplicaInfo | None:
        """Return the replica's info for the controller, or None before the replica is ready.

        Runs in the host's thread, so busy user code does not delay the answer.
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
            self._user is not None and self._user.has_health_check,
            self._stopping is not None,
            self._options,
        )

    def membership(self) -> Membership:
        """Return the membership of this process, for a controller that has restarted.

        Separate from `describe`: together with a large `user_config`, Ray could spill the secret
        to disk. Runs in the host's thread, as `describe` does.
        """
        return self._membership

    def probe_liveness(self) -> Liveness:
        """Return the replica's liveness. Runs in the host's thread, as `describe` does."""
        server, watch = self._server, self._watch
        if server is None or watch is None:
            return Liveness(0.0, 0, 0, self._spec.max_ongoing)
        leaving = self._stopping is not None
        return Liveness(
            watch.since_beat_s, server.ongoing, server.abandoned, server.max_ongoing, leaving
        )

    async def check_health(self) -> None:
        """Run the user's `check_health`.

        Raises:
            DeployError: The check has raised.
        """
        current_runtime.set(self._runtime)
        current_replica.set(self._replica_context)
        if self._user is not None:
            try:
                await self._user.check_health()
            except BaseException as error:  # the user's code
                if is_cancellation(error):
                    raise
                raise DeployError(_describe_failure(error)) from None

    async def reconfigure(
        self, max_ongoing: int, user_config: object, options: Mapping[str, object]
    ) -> None:
        """Apply settings that need no restart.

        If the layers cannot be built, calls fail until a later build succeeds, since the missing
        layer may be that of authentication.
        """
        assert self._server is not None
        assert self._user is not None
        current_runtime.set(self._runtime)
        current_replica.set(self._replica_context)
        if options != self._options or self._layers_failed:
            try:
                self._server.services = self._services(self._user, options)
            except BaseException as error:  # foreign code
                failing = failing_service(self._spec.deployment, error)
                self._server.services = dict.fromkeys(self._server.services, failing)
                self._layers_failed = True
                if is_cancellation(error):
                    raise
                raise DeployError(_describe_failure(error)) from None
            self._layers_failed = False
            self._options = options
        if max_ongoing != self._server.max_ongoing:
            self._server.max_ongoing = max_ongoing
            self._user.resize(max_ongoing)
            self._replica_context._resize(max_ongoing)
        if user_config is not None and user_config != self._user_config:
            try:
                await self._user.reconfigure(user_config)
            except BaseException as error:  # the user's code
                if is_cancellation(error):
                    raise
                raise DeployError(_describe_failure(error)) from None
            self._user_config = user_config

    async def stop(self, timeout_s: float) -> None:
        """Drain for at most `timeout_s`, then close the user's object.

        A controller that has restarted may call again, and waits for the same end.
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
                # The process ends after this, so all written data must be sent before.
                async with asyncio.timeout(_FLUSH_TIMEOUT_S):
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
        """Run the callbacks of `ReplicaContext.on_close`, the last one first."""
        current_runtime.set(self._runtime)
        current_replica.set(self._replica_context)
        for callback in reversed(self._replica_context._closing):
            try:
                await callback()
            except BaseException as error:  # foreign code
                if is_cancellation(error):
                    raise
                log.exception("%s: closing failed", self._spec.deployment)

    async def abort(self) -> None:
        """Close all connections at once, as the end of the process would."""
        if self._watch is not None:
            self._watch.stop()
        if self._listener is not None:
            self._listener.abort()
        # Ends the calls that this replica has made to others.
        await self._runtime.close()

    async def _construct(self) -> UserObject:
        spec = self._spec

        def make_handle(deployment: DeploymentId) -> object:
            return self._context.plugins.make_handle(deployment, self._runtime)

        target = load_code(spec.code, make_handle)
        args, kwargs = load_init(spec.init, make_handle)
        user = UserObject(
            spec.deployment, target, is_function=spec.is_function, threads=spec.max_ongoing
        )
        await user.construct(args, kwargs)
        self._replica_context.servable_object = user.instance
        if spec.user_config is not None:
            await user.reconfigure(spec.user_config)
        await user.check_health()
        return user

    def _services(self, user: UserObject, options: Mapping[str, object]) -> dict[str, Service]:
        """Return the service of each protocol, inside the layers of plugins."""
        plugins = self._context.plugins
        spec = self._spec
        info = describe_deployment(spec.deployment, spec.version, options, plugins)
        layers = [staged.layer for staged in plugins.wrap_replica(info, self._config)]
        protocols = [PythonProtocol(), *self._context.plugins.protocols.values()]
        return {protocol.name: compose(protocol.bind(user), layers) for protocol in protocols}

    def _serve(self, services: Mapping[str, Service]) -> DataServer:
        """Return the data server, with an observer if a plugin has one."""
        deployment, max_ongoing = self._spec.deployment, self._spec.max_ongoing
        observer = self._runtime.observe("replica", ReplicaObserver, deployment)
        if observer is None:
            return DataServer(deployment, services, max_ongoing)
        from .observed_server import ObservedServer  # only if needed, for a fast start

        failure_code = self._runtime.failure_code
        return ObservedServer(deployment, services, max_ongoing, observer, failure_code)

    async def _listen(self, server: DataServer) -> Address:
        membership = self._membership
        transport = membership.config["cluster"]["transport"]
        wire = self._runtime.observe("wire", WireObserver, "replica")
        self._listener = server.listener = Listener(
            server,
            self._spec.replica_id,
            membership.secret,
            max_message=membership.config["cluster"]["max_message_bytes"],
            metadata=lambda: {"replica": self._spec.replica_id, "pid": os.getpid()},
            kind=(
                ReplicaConnection if wire is None else observed_connection(ReplicaConnection, wire)
            ),
        )
        self._advertiser.listen(self._listener)
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


def _describe_failure(error: BaseException) -> str:
    """Return the message of a failure: the reason in the first line, then the user's traceback."""
    return f"{describe_error(error)}{_remedy(error)}\n{user_traceback(error)}"


def _remedy(error: BaseException) -> str:
    """Return how to install a missing package on the replica's node; "" for other errors."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    package = error.name.partition(".")[0]
    return (
        f". Install the package of module {package!r} on every node that runs replicas, or add the "
        f'package to ray_actor_options={{"runtime_env": {{"pip": [...]}}}}.'
    )
