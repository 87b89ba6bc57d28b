"""A driver's connection to an instance, to apply changes and wait for their effect."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence

from .._cluster.cluster_protocol import ActorSpec, Cluster
from .._model.blobs import pack
from .._model.plan import Key
from .._plugins import Plugins, check_same
from .._process.controller_client import CONTROLLER_NAME, ControllerClient
from .._process.controller_retry import DRIVER_LIMITS, RetryLimits
from .._process.process_runtime import InstanceAccess, ProcessRuntime
from .._section_values import Config, SectionValues, secrets_in, without_secrets
from .._wire.error_codec import unpickle_error
from ..actors import ControllerProtocol, MissingBlobs
from ..errors import ConflictError, ServeError
from ..types import ProcessInfo, Resource
from ._waiting import log_waiting

__all__ = ["CONTROLLER_TARGET", "ControllerConnection", "warn_of_differences"]

log = logging.getLogger("alacarte")
CONTROLLER_TARGET = "alacarte._control.controller_actor:ControllerActor"
_ROUTES_S = 15.0
"""For this process to receive routes that the controller has published."""
_LEASE_INTERVAL_S = 5.0
"""Between renewals of the lease on an instance that ends with this process."""


class ControllerConnection:
    """A driver's connection to an instance. Used on one event loop.

    Attributes:
        plugins: The plugins that this process and every process of the instance run.
        config: The configuration that the instance was started with, by section.
        runtime: The runtime for calls of this process; made by `join`.
    """

    runtime: ProcessRuntime

    def __init__(self, cluster: Cluster, plugins: Plugins) -> None:
        self.cluster = cluster
        self.plugins = plugins
        self.config: Config = {}
        self._client = ControllerClient(cluster)

    @property
    def started(self) -> bool:
        """Whether this process started the instance, rather than joined it."""
        return self._client.started

    def controller(self, limits: RetryLimits = DRIVER_LIMITS) -> ControllerProtocol:
        """Return the controller; see `ControllerClient.controller`."""
        return self._client.controller(limits)

    async def join(self, config: Config | None) -> bool:
        """Join the running instance, or start an instance; return whether one is running now.

        Args:
            config: Configuration of a new instance; None to start none.
        """
        spec = ActorSpec(
            CONTROLLER_NAME,
            CONTROLLER_TARGET,
            plugins=self.plugins.loaded,
            restarts=True,
            on_head=True,
        )
        info = await self._client.join(config, spec)
        if info is None:
            return False
        check_same(self.plugins.loaded, info.plugins)
        self.config = info.config
        warn_of_differences(self.plugins, self.config, config)
        self.runtime = ProcessRuntime(
            InstanceAccess(
                self.cluster,
                info.instance,
                info.secret,
                self.config["cluster"]["max_message_bytes"],
            ),
            self.plugins,
            SectionValues(self.plugins, self.config),
            process=ProcessInfo("driver", f"driver:{os.getpid()}:{id(self)}", self.cluster.node_id),
            # On Ray, a driver's calls are spread over all nodes, so no replica counts as local.
            has_local_replicas=self.cluster.kind == "local",
            decode_error=unpickle_error,
        )
        return True

    async def wait_ended(self) -> None:
        """Wait until the instance has ended, or another instance has taken its place."""
        await self._client.wait_ended()

    async def apply(
        self,
        expected: Mapping[Key, Resource | None],
        resources: Sequence[Resource],
        *,
        wait: bool,
    ) -> None:
        """Apply resources, all or none; with `wait`, return when they run.

        Args:
            expected: By key, the current resource, None for a key that must be free; {} to
                replace any.
        """
        fingerprints = await self.store(expected, resources)
        if expected:
            # The next compare-and-set builds on this change, so it does not supersede the wait.
            fingerprints = [""] * len(resources)
        if wait:
            await self._wait_applied(resources, fingerprints)

    async def store(
        self, expected: Mapping[Key, Resource | None], resources: Sequence[Resource]
    ) -> list[str]:
        """Store resources in the controller; send only those large byte strings that it lacks.

        Returns:
            A fingerprint of each resource.

        Raises:
            ConflictError: The controller no longer has a byte string that a resource refers to.
        """
        packed = pack((expected, resources))
        blobs: dict[str, bytes] = {}
        while True:
            answer = await self.controller().apply(packed.data, tuple(packed.sizes), blobs)
            if not isinstance(answer, MissingBlobs):
                return answer
            if answer.digests - packed.blobs.keys():
                raise ConflictError(resources[0].kind, resources[0].name)
            blobs |= {digest: packed.blobs[digest] for digest in answer.digests}

    async def _wait_applied(
        self, resources: Sequence[Resource], fingerprints: Sequence[str]
    ) -> None:
        """Wait until resources run; meanwhile log what they wait for."""
        # Ray shows the controller's own log lines to the program that started it, and no other.
        logging_task = None
        if not self.started:
            names = [resource.name for resource in resources]
            logging_task = asyncio.create_task(log_waiting(self.controller().status, names))
        try:
            await self._applied(resources, fingerprints)
        finally:
            if logging_task is not None:
                logging_task.cancel()

    async def _applied(self, resources: Sequence[Resource], fingerprints: Sequence[str]) -> None:
        waits = [
            asyncio.create_task(
                self.controller().applied(resource.kind, resource.name, fingerprint)
            )
            for resource, fingerprint in zip(resources, fingerprints, strict=True)
        ]
        try:
            # The first failure is raised at once, while others still wait.
            for done in asyncio.as_completed(waits):
                await self._wait_routes(await done)
        finally:
            for each in waits:
                each.cancel()

    async def deleted(self, kind: str, name: str) -> None:
        """Wait until a deleted resource has ended and this process has dropped its routes."""
        await self._wait_routes(await self.controller().deleted(kind, name))

    async def _wait_routes(self, version: int) -> None:
        """Wait until calls of this process take the routes of a version.

        Raises:
            ServeError: This process has not received the routes in time.
        """
        try:
            async with asyncio.timeout(_ROUTES_S):
                await self.runtime.routes_known(version)
        except TimeoutError:
            raise ServeError(
                f"this process has not received version {version} of the routes within "
                f"{_ROUTES_S:g} s, though the proxies have. The change is in effect; calls from "
                "this process may take the old routes for a while."
            ) from None

    async def renew_lease(self) -> None:
        """Renew the lease on the instance until this process ends."""
        while True:
            await asyncio.sleep(_LEASE_INTERVAL_S)
            try:
                await self.controller().renew_lease()
            except Exception as error:  # the next renewal may succeed
                log.debug("the lease on the instance was not renewed: %r", error)


def warn_of_differences(plugins: Plugins, running: Config, asked: Config | None) -> None:
    """Log which options the running instance ignores, because it was started with others.

    Secrets are not compared: drivers do not get the running instance's.
    """
    comparable = without_secrets(asked or {}, secrets_in(plugins, asked or {}))
    for name, section in comparable.items():
        differing = {key for key, value in section.items() if running[name].get(key) != value}
        if differing:
            log.warning(
                "the running instance keeps its %s options and ignores %s; call serve.shutdown() "
                "first to change them",
                name,
                ", ".join(sorted(differing)),
            )
