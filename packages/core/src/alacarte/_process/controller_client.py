"""The controller of an instance: found by name, checked, and called again when it is back.

Drivers wait out a restart of the controller, and say so. Processes of the instance ask at once or
not at all: whoever follows snapshots or sends reports asks again by itself.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

from .._cluster.cluster_protocol import Actor, ActorDied, ActorSpec, Cluster, ClusterUnresponsive
from .._cluster.stubs import RemoteCall, make_stub, send, stub
from ..actors import ActorUnresponsive, ControllerProtocol, InstanceInfo, NotStarted
from ..errors import ConfigError, ServeError
from ..foreign import describe_error
from .outage import JOINING, PATIENT, Absence, EndWatch, Outage, Patience, Sighting

__all__ = [
    "CONTROLLER_NAME",
    "OTHER_INSTANCE",
    "ControllerClient",
    "ControllerGone",
    "ControllerUnresponsive",
    "OtherInstance",
    "checked",
]

log = logging.getLogger("alacarte")
CONTROLLER_NAME = "alacarte:controller"
OTHER_INSTANCE = "the instance that this process belongs to was shut down, and another one runs"
_JOIN_OTHER = (
    f"{OTHER_INSTANCE}. Call serve.shutdown() here to leave the former, then serve.start()."
)
_WAS_UP_S = 2.0
"""A controller that dies after a call has lasted so long was up, and did not fail to come up."""
_PING_S = 35.0
"""How often a controller whose answer may take long is asked for a sign of life.

Longer than the 30 s after which it answers a `watch` without news: that answer is one.
"""
_WATCH_PAUSE_S = 0.2


class ControllerGone(ActorDied):
    """There is no controller, or it has no instance."""


class ControllerUnresponsive(ActorDied):
    """The controller's process runs and does not answer: looking for it again is of no use."""


class OtherInstance(ServeError):
    """The controller that answers belongs to another instance, and will not become ours."""


def checked(info: InstanceInfo | None, instance: str) -> InstanceInfo:
    """Return a controller's answer to `begin` if it is that of an instance. Pure.

    Raises:
        ControllerGone: It has no instance, so ours was shut down.
        OtherInstance: It has another one.
    """
    if info is None:
        raise ControllerGone("there is none; the instance was shut down")
    if info.instance != instance:
        raise OtherInstance(_JOIN_OTHER)
    return info


def _ignore(info: InstanceInfo) -> None:
    pass


class ControllerClient:
    """Finds the controller of an instance, starts it where that is asked, and calls it.

    Args:
        instance: Its name; "" until `join` has found out.
        learn: Told the controller's answer to `begin`, whenever it is found again.

    Attributes:
        started: The controller was started here.
    """

    def __init__(
        self,
        cluster: Cluster,
        instance: str = "",
        learn: Callable[[InstanceInfo], None] = _ignore,
    ) -> None:
        self.started = False
        self._cluster = cluster
        self._instance = instance
        self._learn = learn
        self._actor: Actor | None = None
        self._is_other = False
        self._told_outage: Outage | None = None  # of the calls that wait, one says so

    async def join(self, config: Mapping[str, Any] | None, spec: ActorSpec) -> InstanceInfo | None:
        """Join the instance that runs, or found one; return None where there is none.

        Args:
            config: To found an instance with where there is none; None to join only.
            spec: To start a controller with, where an instance may be founded.
        """
        controller = self.controller(JOINING, start=None if config is None else spec)
        try:
            info = await controller.begin(config)
        except ControllerGone:
            return None
        if info is not None:
            self._instance = info.instance
        return info

    def controller(
        self, patience: Patience = PATIENT, *, start: ActorSpec | None = None
    ) -> ControllerProtocol:
        """Return a stub whose calls find the controller, and wait for one that is away.

        Each call may raise these errors besides its own: `ActorDied` for a controller that is gone
        or does not answer, `ClusterUnresponsive`, and `OtherInstance`.

        Args:
            start: The controller to start where there is none.
        """
        return make_stub(ControllerProtocol, functools.partial(self._ask, patience, start))

    def forget(self) -> None:
        """Look for the controller at the next call, and learn of the instance's secret again."""
        self._actor = None

    async def wait_ended(self) -> None:
        """Return when the instance runs no more, or another one has its place.

        A controller that is being restarted, and a cluster that does not answer, are waited for.
        """
        watch = EndWatch()
        told = ""
        while True:
            try:
                sighting = await self._sighting()
            except Exception as error:  # whatever it is: who waits would never hear of the end
                sighting = Sighting.UNKNOWN
                if told != (told := describe_error(error)):
                    log.exception("cannot find out whether the instance still runs")
            if watch.saw(sighting):
                return
            await asyncio.sleep(_WATCH_PAUSE_S)

    async def _sighting(self) -> Sighting:
        """Look for the controller; if it is ours, return when it has died."""
        try:
            actor = await self._cluster.find_actor(CONTROLLER_NAME)
            if actor is None:
                return Sighting.NOBODY
            checked(await stub(ControllerProtocol, actor).begin(), self._instance)
            await actor.wait_closed()
        except (OtherInstance, ControllerGone):
            return Sighting.OTHERS
        except (ActorDied, ActorUnresponsive, ClusterUnresponsive, ConfigError):
            return Sighting.UNKNOWN
        return Sighting.OURS

    async def _ask(self, patience: Patience, start: ActorSpec | None, call: RemoteCall) -> Any:
        """Call the controller; repeat the call when it is back, where that does no harm.

        Raises:
            ServeError: The controller ended before it answered a call that is not repeatable.
        """
        loop = asyncio.get_running_loop()
        outage: Outage | None = None
        try:
            while True:
                if not call.terms.repeatable:
                    self.forget()  # and find out whether it lives before it is asked
                was_sent = False
                absence = Absence.CLUSTER_SILENT
                asked_at = math.inf
                try:
                    actor = await self._located(start)
                    absence, asked_at = Absence.RESTARTING, loop.time()
                    await self._check(actor)
                    was_sent = True
                    answer = await self._answer(actor, call)
                    if outage is not None and outage is self._told_outage:
                        outage.ended(loop.time())
                    return answer
                except ControllerUnresponsive:
                    raise
                except (ActorDied, ClusterUnresponsive) as error:
                    self.forget()
                    if was_sent and not (call.terms.repeatable or isinstance(error, NotStarted)):
                        raise ServeError(
                            f"the controller ended before it answered {call.method!r}: the call "
                            "may have been carried out, and is not repeated. See serve.status(), "
                            "and call again where that does no harm."
                        ) from error
                    if isinstance(error, ControllerGone):
                        absence = Absence.GONE
                    now = loop.time()
                    if outage is None or now - asked_at > _WAS_UP_S:
                        if outage is not None and outage is self._told_outage:
                            outage.ended(asked_at)  # it was back, before it was away again
                        outage = self._new_outage(outage, now, patience)
                    pause_s = outage.failed(absence, now)
                    if pause_s is None:
                        raise
                    if outage is self._told_outage:
                        outage.tell(now)
                    await asyncio.sleep(pause_s)
                except ServeError:
                    raise  # the controller's answer
                except Exception:
                    self.forget()
                    raise
        finally:
            if outage is self._told_outage:
                self._told_outage = None

    def _new_outage(self, before: Outage | None, now: float, patience: Patience) -> Outage:
        """Return an outage; the first of those that are seen at a time tells of it."""
        outage = Outage(now, patience)
        if self._told_outage in (None, before):
            self._told_outage = outage
        return outage

    async def _located(self, start: ActorSpec | None) -> Actor:
        """Return the controller, whichever instance it has.

        Raises:
            ControllerGone: There is none now.
            OtherInstance: An earlier one was that of another instance.
        """
        if self._is_other:
            raise OtherInstance(_JOIN_OTHER)
        if self._actor is not None:
            return self._actor
        actor = await self._cluster.find_actor(CONTROLLER_NAME)
        if actor is None and start is not None:
            # Somebody else may do the same: the one who comes second is told so, and looks again.
            actor = await self._cluster.start_actor(start)
            self.started = True
        if actor is None:
            raise ControllerGone("there is none; the instance was shut down")
        return actor

    async def _check(self, actor: Actor) -> None:
        """Find out whether a controller is that of our instance, once.

        Raises:
            OtherInstance: It is that of another instance. None is looked for after that.
        """
        if self._instance and actor is not self._actor:
            controller = make_stub(ControllerProtocol, functools.partial(self._answer, actor))
            try:
                self._learn(checked(await controller.begin(), self._instance))
            except OtherInstance:
                self._is_other = True
                raise
        self._actor = actor

    async def _answer(self, actor: Actor, call: RemoteCall) -> Any:
        """Return a controller's answer; find out in between whether it still answers."""
        asking = asyncio.create_task(send(actor, call))
        try:
            while not (await asyncio.wait((asking,), timeout=_PING_S))[0]:
                if call.patience_s is None:
                    await stub(ControllerProtocol, actor).begin()
            return await asking
        except ActorUnresponsive as error:
            raise ControllerUnresponsive(
                f"{error}; if it does not recover, serve.shutdown(force=True) ends everything"
            ) from None
        finally:
            asking.cancel()
