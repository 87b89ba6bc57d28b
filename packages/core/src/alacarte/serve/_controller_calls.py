"""A driver's calls to the controller, which may be away, restart, or never answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from .._cluster.protocol import Actor, ActorDied, ActorSpec, Cluster, ClusterSilent
from .._cluster.stubs import RemoteCall, make_stub, send, stub
from .._plugins import Plugins
from .._process.runtime import CONTROLLER_NAME
from ..actors import ActorSilent, ControllerProtocol
from ._outage import Outage

__all__ = ["ControllerCalls"]

CONTROLLER_TARGET = "alacarte._control.controller_actor:ControllerActor"
_THERE_S = 2.0
"""A controller that dies after a call has lasted so long was there, and did not fail to come up."""
_PING_S = 30.0
"""How often a controller whose answer may take long is asked for a sign of life."""


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

    def controller(self, *, start: bool = False, **limits: float) -> ControllerProtocol:
        """Return a stub whose calls find the controller, and wait out its restarts.

        Args:
            start: Start one where there is none. Otherwise `begin` returns None there.
            limits: Of an `Outage`.
        """

        async def send(call: RemoteCall) -> Any:
            return await self._ask(call, start, limits)

        return make_stub(ControllerProtocol, send)

    async def _ask(self, call: RemoteCall, start: bool, limits: Mapping[str, float]) -> Any:
        """Find the controller and call it; one that is away is asked again when it is back."""
        loop = asyncio.get_running_loop()
        outage: Outage | None = None
        try:
            while True:
                kind = "silent"
                asked_at = loop.time()
                try:
                    controller = await self._found(start)
                    if controller is None:
                        if call.method == "begin":
                            return None
                        kind = "gone"
                        raise ActorDied("there is none; the instance was shut down")
                    kind = "restarting"
                    asked_at = loop.time()
                    answer = await self._answer(controller, call)
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

    async def _found(self, start: bool) -> Actor | None:
        if self._controller is None:
            self._controller = await self._cluster.find_actor(CONTROLLER_NAME)
        if self._controller is None and start:
            # Somebody else may do the same: the one who comes second is told so, and looks again.
            self._controller = await self._cluster.start_actor(self._spec())
            self.started = True
        return self._controller

    async def _answer(self, controller: Actor, call: RemoteCall) -> Any:
        """Return a controller's answer; find out in between whether there is anybody."""
        asking = asyncio.create_task(send(controller, call))
        try:
            while not (await asyncio.wait((asking,), timeout=_PING_S))[0]:
                if call.patience_s is None:
                    await stub(ControllerProtocol, controller).begin()
            return await asking
        except ActorSilent as error:
            raise _Silent(
                f"{error}; if it does not recover, serve.shutdown(force=True) ends everything"
            ) from None
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
