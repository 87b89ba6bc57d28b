"""Bootstrap of a controller: create a new instance, or recover the stored one."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .._cluster.cluster_protocol import ActorDied, Cluster, Node
from .._plugins import Plugins
from .._section_values import Config, secrets_in, with_secrets, without_secrets
from ..actors import Membership
from .desired_state import DesiredState
from .recovery import Recovery, Survivor
from .scaling import clear_scaler, load_scaler
from .storage import Storage

__all__ = ["Bootstrap", "BootstrapResult", "NoInstance", "NotBootstrapped", "new_instance"]

log = logging.getLogger("alacarte.controller")


class NotBootstrapped(ActorDied):
    """The controller's process runs without an instance: `join` needs a configuration first.

    Callers of other methods get this error as an `ActorDied`, as if no controller ran.
    """


class NoInstance(NotBootstrapped):
    """The cluster stores no instance, and no driver has started one."""


@dataclass(frozen=True)
class BootstrapResult:
    """The initial state of a controller.

    Attributes:
        membership: Passed to every process that the controller starts.
        state: The desired state; empty for a new instance.
        recovery: Finds the actors of a former controller.
        survivors: Replicas that a former controller left running.
        scaler: The last value that the scaler stored, see `ScalerContext`; None for a new instance.
        nodes: The nodes of the cluster.
    """

    membership: Membership
    state: DesiredState
    recovery: Recovery
    survivors: Sequence[Survivor]
    scaler: bytes | None
    nodes: Sequence[Node]

    @property
    def is_recovered(self) -> bool:
        """Whether a former controller has stored the instance."""
        return self.scaler is not None


class Bootstrap:
    """Creates or recovers an instance, in as many attempts as necessary.

    Each attempt is idempotent, because the cluster may fail in the middle of any.
    """

    def __init__(self, cluster: Cluster, plugins: Plugins, storage: Storage) -> None:
        self._cluster = cluster
        self._plugins = plugins
        self._storage = storage
        self._membership: Membership | None = None

    async def create_or_recover(self, config: Config | None) -> BootstrapResult:
        """Return the controller's initial state, from the storage and the running processes.

        Args:
            config: Configuration of a new instance where none is stored, and source of secrets that
                the stored instance has lost. None from a caller without a configuration.

        Raises:
            NotBootstrapped: `config` is missing, or lacks a lost secret.
            ConfigError: Another version of alacarte wrote the stored state.
            ClusterUnresponsive: The cluster does not answer.
        """
        stored = await self._storage.load()
        if stored is None:
            # Set before the write: if its answer is lost, the next attempt needs this secret.
            self._membership, state = new_instance(self._plugins, config)
            await clear_scaler(self._cluster)  # a former instance may have left a value
            await self._storage.save(state)
            scaler = None
        else:
            # A shutdown that its controller did not survive has to be requested again.
            state = replace(stored, stopping=False)
            scaler = await load_scaler(self._cluster)
        recovery = Recovery(self._cluster, state.instance)
        survivors = [] if stored is None else await recovery.survivors()
        membership = self._membership
        if membership is None or membership.instance != state.instance:
            membership = await recovery.membership(survivors)
        if membership is None:
            membership = _renewed_membership(self._plugins, state, config)
        self._membership = membership
        nodes = await self._cluster.nodes()
        return BootstrapResult(membership, state, recovery, survivors, scaler, nodes)


def new_instance(plugins: Plugins, config: Config | None) -> tuple[Membership, DesiredState]:
    """Return the membership of a new instance and its state to store.

    Raises:
        NoInstance: `config` is None.
    """
    if config is None:
        raise NoInstance("no instance is stored, and no driver has started one")
    membership = Membership(secrets.token_hex(4), secrets.token_bytes(32), config)
    withheld = secrets_in(plugins, config)
    public = without_secrets(config, withheld)
    return membership, DesiredState(membership.instance, public, tuple(withheld))


def _renewed_membership(plugins: Plugins, state: DesiredState, config: Config | None) -> Membership:
    """Return a membership with a new secret, for an instance without a running process.

    No running replica checks the old secret any more, so a new secret is safe.

    Raises:
        NotBootstrapped: Secrets of the configuration are lost, and `config` does not have them.
    """
    known = secrets_in(plugins, config or {})
    if not known.keys() >= set(state.withheld):
        raise NotBootstrapped(
            f"the secrets {' and '.join(state.withheld)} are lost: secrets are never stored, and "
            "every process that had them has ended. Call serve.start() again with the same options."
        )
    log.warning("no process of the instance answers; new processes get a new instance secret")
    complete = with_secrets(state.config, {path: known[path] for path in state.withheld})
    return Membership(state.instance, secrets.token_bytes(32), complete)
