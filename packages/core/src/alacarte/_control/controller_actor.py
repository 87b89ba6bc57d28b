"""The actor under the controller's name: it begins an instance, and then the controller answers.

The cluster restarts this process by itself, without arguments and with nothing but the storage to
go by. So the actor launches the controller as soon as the process is up, and again at a call where
that has failed: the cluster may have been silent, or lost secrets may have to be given first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from .._cluster.cluster_protocol import ActorContext, ActorDied
from .._cluster.host import sweep_sockets
from ..actors import InstanceInfo
from ..errors import ConfigError
from .bootstrap import Bootstrap, NoInstance, NotBootstrapped
from .controller import Controller
from .storage import Storage

__all__ = ["ControllerActor"]


class ControllerActor:
    """A `Launcher` of the controller.

    Made without arguments: the cluster would store them, secrets and all.
    """

    def __init__(self, context: ActorContext) -> None:
        self._context = context
        self._storage = Storage(context.cluster)
        self._founding = Bootstrap(context.cluster, context.plugins, self._storage)
        self._controller: Controller | None = None
        self._launching = asyncio.Lock()

    async def begin(self, config: Mapping[str, Any] | None = None) -> InstanceInfo | None:
        """Begin the instance, or join the one that runs; return what a process needs to join it.

        Args:
            config: To start an instance with, where none is stored; and the secrets that an
                instance has lost with its last process. None to join one.

        Returns:
            None where no instance is stored.

        Raises:
            ConfigError: The instance has lost secrets, and `config` does not have them.
        """
        try:
            controller = await self._launched(config)
        except NoInstance:
            return None
        except NotBootstrapped as error:
            raise ConfigError(str(error)) from None
        return controller.info

    async def launch(self) -> Controller:
        """Return the running controller; start it where it does not run yet.

        Raises:
            NotBootstrapped: `begin` has to be called with a configuration first.
            ActorDied: The instance was shut down.
            ConfigError: Another version of alacarte wrote the stored state.
            ClusterUnresponsive: The cluster does not answer.
        """
        return await self._launched(None)

    async def _launched(self, config: Mapping[str, Any] | None) -> Controller:
        controller = self._controller or await self._first(config)
        if controller.has_ended:
            raise ActorDied("the instance was shut down")
        return controller

    async def _first(self, config: Mapping[str, Any] | None) -> Controller:
        """Start the controller, once, whoever else asks for it meanwhile."""
        async with self._launching:
            if self._controller is None:
                sweep_sockets(self._context.socket_dir)
                foundation = await self._founding.attempt(config)
                self._controller = Controller(self._context, self._storage, foundation)
            return self._controller
