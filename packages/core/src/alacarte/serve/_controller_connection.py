"""A driver's connection to an instance: its changes, and the wait for their effect."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from .._cluster.cluster_protocol import ActorSpec, Cluster
from .._model.blobs import pack
from .._model.plan import Key
from .._plugins import Plugins, check_same
from .._process.controller_client import CONTROLLER_NAME, ControllerClient
from .._process.outage import PATIENT, Patience
from .._process.process_runtime import InstanceAccess, ProcessRuntime
from .._settings import ConfigValues, secrets_in, without_secrets
from .._wire.error_codec import unpickle_error
from ..actors import ControllerProtocol, MissingBlobs
from ..errors import ConflictError, ServeError
from ..types import ProcessInfo, Resource
from ._waiting import tell_waiting

__all__ = ["CONTROLLER_TARGET", "ControllerConnection", "warn_of_differences"]

log = logging.getLogger("alacarte")
CONTROLLER_TARGET = "alacarte._control.controller_actor:ControllerActor"
_ROUTES_S = 15.0
"""For this process to receive routes that the controller has published."""
_LEASE_S = 5.0
"""How often the lease on an instance is renewed that ends with this process."""


class ControllerConnection:
    """A driver's connection to an instance. Used on one event loop.

    Attributes:
        plugins: Those that this process loaded, and every process of the instance runs.
        config: The sections that the instance was started with.
        runtime: For calls of this process; made by `join`.
    """

    runtime: ProcessRuntime

    def __init__(self, cluster: Cluster, plugins: Plugins) -> None:
        self.cluster = cluster
        self.plugins = plugins
        self.config: Mapping[str, Any] = {}
        self._client = ControllerClient(cluster)

    @property
    def started(self) -> bool:
        """This process started the instance, rather than join it."""
        return self._client.started

    def controller(self, patience: Patience = PATIENT) -> ControllerProtocol:
        """Return the controller; see `ControllerClient.controller`."""
        return self._client.controller(patience)

    async def join(self, config: Mapping[str, Any] | None) -> bool:
        """Join the running instance, or start one; return whether there is an instance now.

        Args:
            config: To start one with; None to join a running one only.
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
            ConfigValues(self.plugins, self.config),
            process=ProcessInfo("driver", f"driver:{os.getpid()}:{id(self)}", self.cluster.node_id),
            # On Ray, the driver's load is spread over all nodes: to a policy, none is its own.
            has_local_replicas=self.cluster.kind == "local",
            decode_error=unpickle_error,
        )
        return True

    async def wait_ended(self) -> None:
        """Return when the instance runs no more, or another one has its place."""
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
            expected: By key, the resource to replace, None for a key that must be free; {} to
                replace any.
        """
        fingerprints = await self.store(expected, resources)
        if expected:
            # Whoever changes them next does so knowing of this change, and has it in his own.
            fingerprints = [""] * len(resources)
        if wait:
            await self._watched(resources, fingerprints)

    async def store(
        self, expected: Mapping[Key, Resource | None], resources: Sequence[Resource]
    ) -> list[str]:
        """Have the controller store resources; send large byte strings only where it lacks them.

        Returns:
            A fingerprint of each.

        Raises:
            ConflictError: A byte string is gone that a resource of the controller's had.
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

    async def _watched(self, resources: Sequence[Resource], fingerprints: Sequence[str]) -> None:
        """Return when resources run; log meanwhile what they wait for, where nobody else does."""
        # Ray shows the controller's own lines to the program that started it, and to no other.
        telling = None
        if not self.started:
            names = [resource.name for resource in resources]
            telling = asyncio.create_task(tell_waiting(self.controller().status, names))
        try:
            await self._applied(resources, fingerprints)
        finally:
            if telling is not None:
                telling.cancel()

    async def _applied(self, resources: Sequence[Resource], fingerprints: Sequence[str]) -> None:
        waits = [
            asyncio.create_task(
                self.controller().applied(resource.kind, resource.name, fingerprint)
            )
            for resource, fingerprint in zip(resources, fingerprints, strict=True)
        ]
        try:
            # The first that fails is told at once, whatever the others wait for.
            for done in asyncio.as_completed(waits):
                await self._take_over(await done)
        finally:
            for each in waits:
                each.cancel()

    async def deleted(self, kind: str, name: str) -> None:
        """Return when nothing is left of a deleted resource."""
        await self._take_over(await self.controller().deleted(kind, name))

    async def _take_over(self, version: int) -> None:
        """Return when calls of this process, too, take the routes of a version.

        Raises:
            ServeError: This process does not receive them.
        """
        try:
            async with asyncio.timeout(_ROUTES_S):
                await self.runtime.routes_known(version)
        except TimeoutError:
            raise ServeError(
                f"this process has not received version {version} of the routes within "
                f"{_ROUTES_S:g} s, though the proxies have; the change is made, and calls from "
                "here may take the old routes until it does."
            ) from None

    async def renew_lease(self) -> None:
        """Renew the lease on the instance for as long as this process lives."""
        while True:
            await asyncio.sleep(_LEASE_S)
            try:
                await self.controller().renew_lease()
            except Exception as error:  # renewed again, as long as this process lives
                log.debug("the lease on the instance was not renewed: %r", error)


def warn_of_differences(
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
