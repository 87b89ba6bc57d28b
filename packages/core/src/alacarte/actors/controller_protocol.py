"""The methods of the controller."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

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
    """The controller: the one actor of an instance that stores and carries out users' changes.

    Drivers (programs, commands, notebooks) make changes and ask for the status. Processes that call
    deployments (drivers, replicas, node services) watch snapshots and send reports.

    A driver's client waits for a controller that restarts, and asks it the same question again:
    every method but `restart_services` names a wanted state rather than a step towards it, and is
    repeatable. Where a method declares no patience, the client asks `begin` every 35 s whether the
    controller still answers.
    """

    # --- called by drivers --------------------------------------------------------------

    @remote(patience_s=_ANSWER_S, repeatable=True)
    async def begin(self, config: Mapping[str, Any] | None = None) -> InstanceInfo | None:
        """Found the instance, or join it; return the values that a process needs to belong to it.

        Called by every process first, and again after it has lost the controller. Until a driver
        has founded the instance, every other method raises `ActorDied`.

        Args:
            config: All sections of the configuration, to found an instance with where none is
                stored, and to give back secrets that an instance has lost with its last process.
                None to join only.

        Returns:
            None where no instance is stored.

        Raises:
            ConfigError: The instance has lost secrets, and `config` does not have them.
        """

    @remote(patience_s=None, repeatable=True)
    async def ready(self) -> None:
        """Return when every node service has come up.

        Called by drivers.

        Raises:
            ConfigError: A service cannot run with the user's options, such as its port.
        """

    @remote(patience_s=_ANSWER_S, repeatable=True)
    async def apply(
        self, change: bytes, digests: Collection[str], blobs: Mapping[str, bytes]
    ) -> list[str] | MissingBlobs:
        """Store resources in place of those of their names, all or none, and carry them out.

        Called by drivers. Returns as soon as the change is stored; `applied` waits for its effect.

        Args:
            change: The packed pair of the expected resources by key (None for a key that must be
                free; compare-and-set) and the new resources.
            digests: Of every large byte string in `change`.
            blobs: The byte strings, by digest, that the controller may lack.

        Returns:
            A fingerprint of each resource for `applied`; or the digests that the controller lacks,
            and then nothing is stored.

        Raises:
            ConfigError: A resource is invalid beside the others, or its kind is unknown.
            ConflictError: A resource differs from the expected one.
            DeployError: The instance is shutting down.
        """

    @remote(patience_s=None, repeatable=True)
    async def applied(self, kind: str, name: str, fingerprint: str = "") -> int:
        """Return when a resource's deployments run and every proxy has taken over its routes.

        Called by drivers.

        Args:
            kind: Of the resource, such as "application".
            name: Of the resource.
            fingerprint: Returned by `apply`; "" for any resource of that name.

        Returns:
            The version of the routes.

        Raises:
            DeployError: A deployment does not start, and the user's own frame comes first; or the
                resource was replaced or deleted meanwhile; or no proxy has taken over its route.
            ConfigError: A node service cannot run with the user's options.
        """

    @remote(patience_s=_ANSWER_S, repeatable=True)
    async def delete(self, kind: str, name: str) -> bool:
        """Delete a resource; return whether there was one. Its replicas drain meanwhile.

        Called by drivers. A repetition after a lost answer returns False for the resource that the
        first call has deleted.

        Args:
            kind: Of the resource, such as "application".
            name: Of the resource.

        Raises:
            ConfigError: Another resource needs it.
        """

    @remote(patience_s=None, repeatable=True)
    async def deleted(self, kind: str, name: str) -> int:
        """Return when a deleted resource's replicas are gone and no proxy knows its routes.

        Called by drivers.

        Args:
            kind: Of the resource, such as "application".
            name: Of the resource.

        Returns:
            The version of the routes.
        """

    @remote(patience_s=_ANSWER_S, repeatable=True)
    async def resources(self, kind: str) -> bytes:
        """Return the packed list of all resources of a kind, in the order of their creation.

        Called by drivers. Large byte strings are left out; references stand for them.

        Args:
            kind: Of the resources, such as "application".
        """

    @remote(patience_s=_ANSWER_S, repeatable=True)
    async def status(self) -> ServeStatus:
        """Return the status of applications, node services and routes.

        Called by drivers.
        """

    @remote(patience_s=_ANSWER_S, repeatable=True)
    async def renew_lease(self) -> None:
        """Renew the lease of a driver whose instance ends with it.

        Called every five seconds by the driver that started the instance with `detached=False`.
        The first call turns the lease on; twenty seconds after the last one the instance shuts
        down.
        """

    @remote(patience_s=None, repeatable=False)
    async def restart_services(self, service: str, drain_s: float) -> None:
        """Replace each process of a node service by a successor; return when all are replaced.

        Called by drivers. A repetition would replace the successors once more, so a call whose
        answer is lost with the controller fails with `ServeError`.

        Args:
            service: Name of the service, "" for all.
            drain_s: Seconds that a replaced process has to answer its accepted requests.

        Raises:
            NotFoundError: No service of that name runs.
            ServeError: A successor did not start; the old process goes on.
        """

    @remote(patience_s=None, repeatable=True)
    async def shutdown(self) -> None:
        """Stop every process of the instance but the controller, and delete its stored state.

        Called by drivers. The driver kills the controller afterwards; without a driver it ends
        itself.
        """

    # --- called by processes that call deployments --------------------------------------

    @remote(patience_s=_ANSWER_S, repeatable=True)
    async def deployments_of(self, app: str) -> tuple[DeploymentId, ...]:
        """Return an application's deployments, its ingress first; () for an unknown one.

        Called by processes that call deployments.

        Args:
            app: Name of the application.
        """

    @remote(patience_s=None, repeatable=True)
    async def watch(self, request: WatchRequest) -> Mapping[str, Snapshot]:
        """Return the snapshots that are newer than the versions a process knows, by key.

        Called by processes that call deployments. Answers as soon as there is a newer one, and
        after 30 s with none. Each process has one open question: the next one ends it.

        Args:
            request: The process and the versions that it knows.
        """

    @remote(patience_s=_ANSWER_S, repeatable=True)
    async def report(
        self, process: ProcessId, number: int, values: Mapping[str, bytes]
    ) -> frozenset[str]:
        """Take a process's latest values by topic; return the topics of all its values held here.

        Called by processes that call deployments: at most once a second, and every `HEARTBEAT_S`
        without values, as a sign of life. What the answer lacks the process sends again: the
        controller is another one, has forgotten the process after `FORGET_S` of silence, or the
        topic's receiver has dropped the value. Loads that rise are reported up to ten times a
        second.

        Args:
            process: The process that reports.
            number: Grows with each message of the process; a value that arrives after a later
                value of its topic is dropped.
            values: As the topics encode them.
        """

    @remote(patience_s=_ANSWER_S, repeatable=True)
    async def suspect(
        self, process: str, deployment: DeploymentId, replica_id: str, reason: str
    ) -> None:
        """Check a replica whose connection a process has found silent.

        Called by processes that call deployments.

        Args:
            process: Name of the process that reports.
            deployment: Of the replica.
            replica_id: Of the replica.
            reason: For the log.
        """
