"""How a controller comes to know its instance: it founds a new one, or recovers the stored one."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .._cluster.cluster_protocol import ActorDied, Cluster, Node
from .._plugins import Plugins
from .._settings import secrets_in, with_secrets, without_secrets
from ..actors import Membership
from .desired_state import DesiredState
from .recovery import Recovery, Survivor
from .scaling import clear_scaler, load_scaler
from .storage import Storage

__all__ = ["Bootstrap", "BootstrapResult", "NoInstance", "NotBootstrapped", "new_instance"]

log = logging.getLogger("alacarte.controller")


class NotBootstrapped(ActorDied):
    """The controller's process runs, and nobody has handed it what it must know to go on.

    Whoever asks anything else of the controller is answered as if it were not there yet.
    """


class NoInstance(NotBootstrapped):
    """No instance is stored, and nobody has started one."""


@dataclass(frozen=True)
class BootstrapResult:
    """All that a controller knows when it begins.

    Attributes:
        membership: For the processes that it starts.
        state: The desired state; that of a new instance is empty.
        recovery: Finds the replicas that a former controller left, which are the survivors.
        scaler: The last value that the scaler stored, see `ScalerContext`; None for a new instance.
        nodes: Of the cluster.
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
    """Founds or recovers an instance, in as many attempts as it takes.

    An attempt changes nothing that the next one does not find again: the cluster may fail in the
    middle of each.
    """

    def __init__(self, cluster: Cluster, plugins: Plugins, storage: Storage) -> None:
        self._cluster = cluster
        self._plugins = plugins
        self._storage = storage
        self._membership: Membership | None = None

    async def attempt(self, config: Mapping[str, Any] | None) -> BootstrapResult:
        """Read the storage, ask the living, and return what the controller begins with.

        Args:
            config: To found an instance with, where none is stored; and the secrets that the stored
                instance may have lost. None where the caller has none.

        Raises:
            NotBootstrapped: `config` is missing, or lacks a lost secret.
            ConfigError: Another version of alacarte wrote the stored state.
            ClusterUnresponsive: The cluster does not answer.
        """
        stored = await self._storage.load()
        if stored is None:
            # Kept before it is stored: when the answer is lost, the next attempt has this secret.
            self._membership, state = new_instance(self._plugins, config)
            await clear_scaler(self._cluster)  # a former instance may have left a value
            await self._storage.save(state)
            scaler = None
        else:
            # A shutdown that its controller did not survive is asked for again, or given up.
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


def new_instance(
    plugins: Plugins, config: Mapping[str, Any] | None
) -> tuple[Membership, DesiredState]:
    """Return the membership of a new instance, and the state to store of it.

    Raises:
        NoInstance: Nobody has given a configuration.
    """
    if config is None:
        raise NoInstance("no instance is stored, and nobody has started one yet")
    membership = Membership(secrets.token_hex(4), secrets.token_bytes(32), config)
    withheld = secrets_in(plugins, config)
    public = without_secrets(config, withheld)
    return membership, DesiredState(membership.instance, public, tuple(withheld))


def _renewed_membership(
    plugins: Plugins, state: DesiredState, config: Mapping[str, Any] | None
) -> Membership:
    """Return another membership, where no process of the instance answers any more.

    Nobody holds a replica to the old secret then, so another one does as well.

    Raises:
        NotBootstrapped: Secrets of the configuration are lost, and `config` does not have them.
    """
    given = secrets_in(plugins, config or {})
    if not given.keys() >= set(state.withheld):
        raise NotBootstrapped(
            f"every process that knew {' and '.join(state.withheld)} of the configuration has "
            "ended, and secrets are never stored; call serve.start() with the same options again"
        )
    log.warning("no process of the instance answers any more; new ones get another secret")
    whole = with_secrets(state.config, {path: given[path] for path in state.withheld})
    return Membership(state.instance, secrets.token_bytes(32), whole)
