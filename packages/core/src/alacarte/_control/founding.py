"""How an instance gets its secret: when it begins, and when no process is left that knows it."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from typing import Any

from .._cluster.protocol import ActorDied
from .._plugins import Plugins
from .._settings import secrets_in, with_secrets, without_secrets
from ..actors import Membership
from .desired import State

__all__ = ["Uninformed", "new_instance", "renewed_membership"]

log = logging.getLogger("alacarte.controller")


class Uninformed(ActorDied):
    """The controller has come up, and nobody has told it yet what it must know to go on.

    For all who ask anything else of it, it is not there yet.
    """


def new_instance(plugins: Plugins, config: Mapping[str, Any] | None) -> tuple[Membership, State]:
    """Return what the processes of a new instance are handed, and what is stored of it.

    Raises:
        Uninformed: Nobody has said with which configuration.
    """
    if config is None:
        raise Uninformed("no instance is stored, and nobody has started one yet")
    membership = Membership(secrets.token_hex(4), secrets.token_bytes(32), config)
    withheld = secrets_in(plugins, config)
    public = without_secrets(config, withheld)
    return membership, State(membership.instance, public, tuple(withheld))


def renewed_membership(
    plugins: Plugins, state: State, config: Mapping[str, Any] | None
) -> Membership:
    """Return what new processes are handed where no process of the instance answers any more.

    Nobody holds a replica to the old secret then, so another one does as well.

    Raises:
        Uninformed: Secrets of the configuration are lost, and `config` does not have them.
    """
    given = secrets_in(plugins, config or {})
    if not given.keys() >= set(state.withheld):
        raise Uninformed(
            f"every process that knew {' and '.join(state.withheld)} of the configuration has "
            "ended, and secrets are never stored; call serve.start() with the same options again"
        )
    log.warning("no process of the instance answers any more; new ones get another secret")
    whole = with_secrets(state.config, {path: given[path] for path in state.withheld})
    return Membership(state.instance, secrets.token_bytes(32), whole)
