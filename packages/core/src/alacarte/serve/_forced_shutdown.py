"""End all of an instance's processes, without asking any of them."""

from __future__ import annotations

import asyncio
import contextlib

from .._cluster.cluster_protocol import Actor, Cluster
from .._cluster.host import socket_dir, sweep_sockets
from .._process.controller_client import CONTROLLER_NAME
from ..errors import ServeError

__all__ = ["end_all"]

_PREFIX = "alacarte:"
_GONE_S = 5.0
_ALL_GONE_S = 20.0
_LOOK_S = 0.02


async def end_all(cluster: Cluster) -> None:
    """Kill the controller, then all that it started, and forget the instance.

    Returns when the cluster knows none of them any more: their names are free for the next.

    Raises:
        ServeError: Some are still there after a while.
        ClusterUnresponsive: The cluster does not answer.
    """
    from .._control.storage import clear  # the controller's code, which no driver runs

    # First, or it would replace what is killed.
    controller = await cluster.find_actor(CONTROLLER_NAME)
    if controller is not None:
        controller.kill()
        await _gone(controller)
    await clear(cluster)
    give_up_at = asyncio.get_running_loop().time() + _ALL_GONE_S
    # More than once: what the controller had asked for may come up after it.
    while names := await cluster.list_actors(_PREFIX):
        if asyncio.get_running_loop().time() > give_up_at:
            raise ServeError(f"killed {_ALL_GONE_S:g} s ago, and still there: {', '.join(names)}")
        for actor in await asyncio.gather(*map(cluster.find_actor, names)):
            if actor is not None:
                actor.kill()
        await asyncio.sleep(_LOOK_S)
    await cluster.release(_PREFIX)
    # Who was killed could not remove its own.
    sweep_sockets(socket_dir())


async def _gone(actor: Actor) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_GONE_S):
            await actor.wait_closed()
