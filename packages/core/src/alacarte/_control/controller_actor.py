"""The actor under the controller's name. Bootstraps the instance and runs its controller.

The cluster restarts this process without arguments, so only the storage knows the instance. The
actor launches the controller as soon as the process is up, and again at each call after a failed
launch: the cluster may have been unresponsive, or `join` must supply lost secrets first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from .._cluster.cluster_protocol import ActorContext, ActorDied
from .._cluster.host_sockets import sweep_sockets
from ..actors import InstanceInfo
from ..errors import ConfigError
from .bootstrap import Bootstrap, NoInstance, NotBootstrapped
from .controller import Controller
from .storage import Storage

__all__ = ["ControllerActor"]


class ControllerActor:
    """A `Launcher` of the controller.

    The constructor has no arguments, because the cluster would store them, secrets included.
    """

    def __init__(self, context: ActorContext) -> None:
        self._context = context
        self._storage = Storage(context.cluster)
        self._bootstrap = Bootstrap(context.cluster, context.plugins, self._storage)
        self._controller: Controller | None = None
        self._launching = asyncio.Lock()

    async def join(
        self, config: Mapping[str, Mapping[str, object]] | None = None
    ) -> InstanceInfo | None:
        """Create the instance or join the running one; return the values that a process needs.

        Args:
            config: Configuration of a new instance where none is stored, and source of secrets that
                the instance has lost with its last process. None to join only.

        Returns:
            None where no instance is stored.

        Raises:
            ConfigError: The instance has lost secrets, and `config` does not have them.
        """
        try:
            controller = await self._running_controller(config)
        except NoInstance:
            return None
        except NotBootstrapped as error:
            raise ConfigError(str(error)) from None
        return controller.info

    async def launch(self) -> Controller:
        """Return the running controller; start it if necessary.

        Raises:
            NotBootstrapped: `join` must be called with a configuration first.
            ActorDied: The instance was shut down.
            ConfigError: Another version of alacarte wrote the stored state.
            ClusterUnresponsive: The cluster does not answer.
        """
        return await self._running_controller(None)

    async def _running_controller(
        self, config: Mapping[str, Mapping[str, object]] | None
    ) -> Controller:
        controller = self._controller or await self._launch_once(config)
        if controller.has_ended:
            raise ActorDied("the instance was shut down")
        return controller

    async def _launch_once(self, config: Mapping[str, Mapping[str, object]] | None) -> Controller:
        """Start the controller once, even for concurrent callers."""
        async with self._launching:
            if self._controller is None:
                sweep_sockets(self._context.socket_dir)
                result = await self._bootstrap.create_or_recover(config)
                self._controller = Controller(self._context, self._storage, result)
            return self._controller
