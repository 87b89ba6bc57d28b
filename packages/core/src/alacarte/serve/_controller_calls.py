"""A driver's calls to the controller, which may be away, restart, or never answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from .._cluster.protocol import Actor, ActorDied, ActorSpec, Cluster, ClusterSilent
from .._plugins import Plugins
from .._routing.runtime import CONTROLLER_NAME
from ._outage import Outage

__all__ = ["ControllerCalls"]

CONTROLLER_TARGET = "alacarte._control.controller:Controller"
_THERE_S = 2.0
"""A controller that dies after a call has lasted so long was there, and did not fail to come up."""
_ANSWER_S = 30.0
"""How long a controller may take for what it does at once."""
_PATIENT = frozenset(("applied", "deleted", "ready", "restart_services", "shutdown", "watch"))
"""What it answers when something has happened, however long that takes."""


class ControllerCalls:
    """Finds the controller, starts it where it is wanted and missing, and asks it again.

    Attributes:
        started: It was started here.
    """

    def __init__(self, cluster: Cluster, plugins: Plugins) -> None:
        self.started = False
        self._cluster = cluster
        self._plugins = plugins
        self._controller: Actor | None = None
        self._told_outage: Outage | None = None  # of the calls that wait, one says so

    async def ask(
        self,
        method: str,
        args: tuple[Any, ...],
        config: Mapping[str, Any] | None = None,
        **limits: float,
    ) -> Any:
        """Call the controller, after finding it; one that is away is asked again when it is back.

        Asking twice is fine: every method of the controller says what should be, not what to do.

        Args:
            config: To start one with; without it, `begin` returns None where there is none.
            limits: Of an `Outage`.
        """
        loop = asyncio.get_running_loop()
        outage: Outage | None = None
        try:
            while True:
                kind = "silent"
                asked_at = loop.time()
                try:
                    controller = await self._found(config)
                    if controller is None:
                        if method == "begin":
                            return None
                        kind = "gone"
                        raise ActorDied("there is none; the instance was shut down")
                    kind = "restarting"
                    asked_at = loop.time()
                    answer = await self._answer(controller, method, args)
                    if outage is not None and outage is self._told_outage:
                        outage.ended(loop.time())
                    return answer
                except _Silent:
                    raise
                except (ActorDied, ClusterSilent) as error:
                    now = loop.time()
                    was_there = isinstance(error, ActorDied) and now - asked_at > _THERE_S
                    if outage is None or was_there:
                        if outage is not None and outage is self._told_outage:
                            outage.ended(asked_at)  # it was back, before it was away again
                        outage = self._new_outage(outage, now, limits)
                    pause_s = outage.failed(kind, now)
                    if pause_s is None:
                        raise
                    if outage is self._told_outage:
                        outage.tell(now)
                    self._controller = None
                    await asyncio.sleep(pause_s)
        finally:
            if outage is self._told_outage:
                self._told_outage = None

    def _new_outage(self, before: Outage | None, now: float, limits: Mapping[str, float]) -> Outage:
        """Return an outage; the first of those that are seen at a time tells of it."""
        outage = Outage(now, **limits)
        if self._told_outage in (None, before):
            self._told_outage = outage
        return outage

    async def _found(self, config: Mapping[str, Any] | None) -> Actor | None:
        if self._controller is None:
            self._controller = await self._cluster.find_actor(CONTROLLER_NAME)
        if self._controller is None and config is not None:
            # Somebody else may do the same: the one who comes second is told so, and looks again.
            self._controller = await self._cluster.start_actor(self._spec())
            self.started = True
        return self._controller

    async def _answer(self, controller: Actor, method: str, args: tuple[Any, ...]) -> Any:
        """Return a controller's answer; find out in between whether there is anybody."""
        asking = asyncio.create_task(controller.call(method, *args))
        try:
            while not (await asyncio.wait((asking,), timeout=_ANSWER_S))[0]:
                if method in _PATIENT:
                    await self._answer(controller, "begin", ())
                    continue
                raise _Silent(
                    f"its process has not answered {method!r} for {_ANSWER_S:g} s; if it does not "
                    "recover, serve.shutdown(force=True) ends everything"
                )
            return asking.result()
        finally:
            asking.cancel()

    def _spec(self) -> ActorSpec:
        return ActorSpec(
            CONTROLLER_NAME,
            CONTROLLER_TARGET,
            plugins=self._plugins.loaded,
            restarts=True,
            on_head=True,
        )


class _Silent(ActorDied):
    """It is there, and does not answer: to look for it again is no use."""
