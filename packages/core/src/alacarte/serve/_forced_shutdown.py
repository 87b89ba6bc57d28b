"""Forced shutdown: kill all processes of an instance, without the controller."""

from __future__ import annotations

import asyncio
import contextlib

from .._cluster.cluster_protocol import Actor, Cluster
from .._cluster.host_sockets import socket_dir, sweep_sockets
from .._process.controller_client import CONTROLLER_NAME
from ..errors import ServeError

__all__ = ["kill_all"]

_PREFIX = "alacarte:"
_CONTROLLER_TIMEOUT_S = 5.0
_TIMEOUT_S = 20.0
_POLL_INTERVAL_S = 0.02


async def kill_all(cluster: Cluster) -> None:
    """Kill the controller, then all actors that it started, and delete the stored state.

    Returns when the cluster has forgotten all of them, and their names are free.

    Raises:
        ServeError: Some actors are still alive after a while.
        ClusterUnresponsive: The cluster does not answer.
    """
    from .._control.storage import clear  # the controller's code, which no driver runs

    # First, because the controller would replace killed actors.
    controller = await cluster.find_actor(CONTROLLER_NAME)
    if controller is not None:
        controller.kill()
        await _wait_closed(controller)
    await clear(cluster)
    deadline = asyncio.get_running_loop().time() + _TIMEOUT_S
    # Repeatedly: actors that the controller had requested may start after its death.
    while names := await cluster.list_actors(_PREFIX):
        if asyncio.get_running_loop().time() > deadline:
            raise ServeError(
                f"these actors are still alive {_TIMEOUT_S:g} s after they were killed: "
                f"{', '.join(names)}. Check the Ray nodes that they run on."
            )
        for actor in await asyncio.gather(*map(cluster.find_actor, names)):
            if actor is not None:
                actor.kill()
        await asyncio.sleep(_POLL_INTERVAL_S)
    await cluster.release(_PREFIX)
    # Killed processes could not remove their sockets.
    sweep_sockets(socket_dir())


async def _wait_closed(actor: Actor) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_CONTROLLER_TIMEOUT_S):
            await actor.wait_closed()
