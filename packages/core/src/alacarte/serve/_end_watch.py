"""Notice that an instance was ended by another process."""

from __future__ import annotations

import asyncio

from .._cluster.protocol import Actor, ActorDied, Cluster, ClusterSilent
from .._cluster.stubs import stub
from .._process.runtime import CONTROLLER_NAME
from ..actors import ActorSilent, ControllerProtocol
from ..errors import ConfigError

__all__ = ["wait_ended"]

_PAUSE_S = 0.2
_GONE_AFTER = 3
"""How often in a row the controller's name must be unknown: one that restarts keeps its name."""


async def wait_ended(cluster: Cluster, instance: str) -> None:
    """Return when the instance of this id runs no more, or another one has its place.

    A controller that is being restarted, and a cluster that does not answer, are waited for.
    """
    unknown = 0
    while unknown < _GONE_AFTER:
        try:
            controller = await cluster.find_actor(CONTROLLER_NAME)
            if controller is None:
                unknown += 1
            elif not await _is_of(controller, instance):
                return
            else:
                unknown = 0
                await controller.closed()
        except (ActorDied, ActorSilent, ClusterSilent, ConfigError):
            unknown = 0
        await asyncio.sleep(_PAUSE_S)


async def _is_of(controller: Actor, instance: str) -> bool:
    info = await stub(ControllerProtocol, controller).begin()
    return info is not None and info.instance == instance
