"""The methods of the controller."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from ..status import ServeStatus
from ..types import DeploymentId, ProcessId
from .membership import InstanceInfo
from .remote import remote
from .watching import Snapshot, WatchRequest

__all__ = ["ControllerProtocol", "MissingBlobs"]

_ANSWER_S = 30.0
"""Seconds that the controller may take for a method that it answers at once."""


@dataclass(frozen=True)
class MissingBlobs:
    """The digests of byte strings that the receiver of a packed value does not have."""

    digests: frozenset[str]


class ControllerProtocol(Protocol):
    """The controller: the actor of an instance that stores and carries out users' changes.

    Drivers (programs, commands, notebooks) make changes and ask for the status. Processes that call
    deployments (drivers, replicas, node services) watch snapshots and send reports.

    A driver's client waits for a controller that restarts, and repeats the call: every method but
    `restart_services` is idempotent, hence repeatable. During a call of a method without a timeout,
    the client calls `join` every 35 s to check that the controller still answers.
    """

    # --- called by drivers --------------------------------------------------------------

    @remote(timeout_s=_ANSWER_S, repeatable=True)
    async def join(
        self, config: Mapping[str, Mapping[str, object]] | None = None
    ) -> InstanceInfo | None:
        """Create or join the instance; return the values that a process needs to belong to it.

        Called by every process first, and again after it has lost the controller. Until a driver
        has created the instance, every other method raises `ActorDied`.

        Args:
            config: All sections of the configuration, for a new instance where none is stored, and
                to restore secrets that an instance has lost with its last process. None to join
                only.

        Returns:
            None where no instance is stored.

        Raises:
            ConfigError: The instance has lost secrets, and `config` does not have them.
        """

    @remote(timeout_s=None, repeatable=True)
    async def ready(self) -> None:
        """Wait until every node service has started.

        Called by drivers.

        Raises:
            ConfigError: A service cannot run with the user's options, for example because its port
                is in use.
        """

    @remote(timeout_s=_ANSWER_S, repeatable=True)
    async def apply(
        self, change: bytes, digests: Collection[str], blobs: Mapping[str, bytes]
    ) -> list[str] | MissingBlobs:
        """Create or replace resources, all or none.

        Called by drivers. Returns as soon as the change is stored; `applied` waits for its effect.

        Args:
            change: The packed pair of the expected resources by key (None for a key that must be
                free; compare-and-set) and the new resources.
            digests: Digests of all large byte strings in `change`.
            blobs: The byte strings, by digest, that the controller may not have.

        Returns:
            A fingerprint of each resource for `applied`; or the digests that the controller does
            not have, and then no resource is stored.

        Raises:
            ConfigError: A resource is invalid, conflicts with another one, or has an unknown kind.
            ConflictError: A stored resource differs from the expected one.
            DeployError: The instance is shutting down.
        """

    @remote(timeout_s=None, repeatable=True)
    async def applied(self, kind: str, name: str, fingerprint: str = "") -> int:
        """Wait until a resource's deployments run and every proxy has applied its routes.

        Called by drivers.

        Args:
            kind: Kind of the resource, such as "application".
            name: Name of the resource.
            fingerprint: Returned by `apply`; "" for any resource of that name.

        Returns:
            The version of the routes.

        Raises:
            DeployError: A deployment does not start (the message begins with the user's own frame),
                the resource was replaced or deleted meanwhile, or no proxy has applied its route.
            ConfigError: A node service cannot run with the user's options.
        """

    @remote(timeout_s=_ANSWER_S, repeatable=True)
    async def delete(self, kind: str, name: str) -> bool:
        """Delete a resource; return whether it existed. Its replicas drain afterwards.

        Called by drivers. A repetition after a lost answer returns False for the resource that the
        first call has deleted.

        Args:
            kind: Kind of the resource, such as "application".
            name: Name of the resource.

        Raises:
            ConfigError: Another resource needs this one.
        """

    @remote(timeout_s=None, repeatable=True)
    async def deleted(self, kind: str, name: str) -> int:
        """Wait until a deleted resource's replicas are gone and no proxy has its routes.

        Called by drivers.

        Args:
            kind: Kind of the resource, such as "application".
            name: Name of the resource.

        Returns:
            The version of the routes.
        """

    @remote(timeout_s=_ANSWER_S, repeatable=True)
    async def resources(self, kind: str) -> bytes:
        """Return the packed list of all resources of a kind, in the order of their creation.

        Called by drivers. References replace large byte strings.

        Args:
            kind: Kind of the resources, such as "application".
        """

    @remote(timeout_s=_ANSWER_S, repeatable=True)
    async def status(self) -> ServeStatus:
        """Return the status of applications, node services and routes.

        Called by drivers.
        """

    @remote(timeout_s=_ANSWER_S, repeatable=True)
    async def renew_lease(self) -> None:
        """Renew the lease of a driver whose instance ends with it.

        Called every five seconds by the driver that started the instance with `detached=False`. The
        first call starts the lease; twenty seconds after the last call the instance shuts down.
        """

    @remote(timeout_s=None, repeatable=False)
    async def restart_services(self, service: str, drain_s: float) -> None:
        """Replace each process of a node service by a successor; return when all are replaced.

        Called by drivers. Not repeatable, because a repetition would replace the successors, too: a
        call whose answer is lost with the controller fails with `ServeError`.

        Args:
            service: Name of the service, "" for all.
            drain_s: Seconds that a replaced process has to answer its accepted requests.

        Raises:
            NotFoundError: No service of that name runs.
            ServeError: A successor did not start; the old process keeps running.
        """

    @remote(timeout_s=None, repeatable=True)
    async def shutdown(self) -> None:
        """Stop every process of the instance but the controller, and delete the stored state.

        Called by drivers. The driver kills the controller afterwards; without a driver, the
        controller ends itself.
        """

    # --- called by processes that call deployments --------------------------------------

    @remote(timeout_s=_ANSWER_S, repeatable=True)
    async def deployments_of(self, app: str) -> tuple[DeploymentId, ...]:
        """Return an application's deployments, its ingress first; () for an unknown application.

        Called by processes that call deployments.

        Args:
            app: Name of the application.
        """

    @remote(timeout_s=None, repeatable=True)
    async def watch(self, request: WatchRequest) -> Mapping[str, Snapshot]:
        """Return the snapshots that are newer than the versions a process knows, by key.

        Called by processes that call deployments. A long poll: answers as soon as a newer snapshot
        exists, and after 30 s without one. Each process has one open request; the next one ends it.

        Args:
            request: The process and the versions that it knows.
        """

    @remote(timeout_s=_ANSWER_S, repeatable=True)
    async def report(
        self, process: ProcessId, number: int, values: Mapping[str, bytes]
    ) -> frozenset[str]:
        """Store a process's latest values by topic; return all topics that have its value.

        Called by processes that call deployments: at most once a second, and every `HEARTBEAT_S`
        without values, as a heartbeat. The process sends the values of missing topics again: the
        controller has restarted, has forgotten the process after `FORGET_S` without a message, or
        the topic's receiver has dropped the value. Rising loads are reported up to ten times a
        second.

        Args:
            process: The process that reports.
            number: Increases with each message of the process; a value that arrives after a later
                value of its topic is dropped.
            values: Encoded values by topic.
        """

    @remote(timeout_s=_ANSWER_S, repeatable=True)
    async def suspect(
        self, process: str, deployment: DeploymentId, replica_id: str, reason: str
    ) -> None:
        """Probe a replica that does not answer a process.

        Called by processes that call deployments.

        Args:
            process: Name of the process that reports.
            deployment: Deployment of the replica.
            replica_id: Id of the replica.
            reason: Observation of the process, for the log.
        """
