"""Client of the controller: finds it by name, checks its instance, and retries calls.

Calls of drivers wait for a controller that restarts, and log that. Calls of other processes are not
retried here: the loops that watch snapshots and send reports retry by themselves.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._cluster.cluster_protocol import Actor, ActorDied, ActorSpec, Cluster, ClusterUnresponsive
from .._cluster.stubs import RemoteCall, make_stub, send, stub
from ..actors import ActorUnresponsive, ControllerProtocol, InstanceInfo, NotStarted
from ..errors import ConfigError, ServeError
from ..foreign import describe_error
from .controller_retry import (
    DRIVER_LIMITS,
    JOIN_LIMITS,
    EndDetector,
    FailureCause,
    ProbeResult,
    RetryLimits,
    RetryState,
)

if TYPE_CHECKING:
    from .._section_values import Config

__all__ = [
    "CONTROLLER_NAME",
    "OTHER_INSTANCE",
    "ControllerClient",
    "ControllerGone",
    "ControllerUnresponsive",
    "OtherInstance",
    "check_instance",
]

log = logging.getLogger("alacarte")
CONTROLLER_NAME = "alacarte:controller"
OTHER_INSTANCE = "the instance of this process was shut down, and another one runs"
_JOIN_OTHER = (
    f"{OTHER_INSTANCE}. Call serve.shutdown() in this process to leave the old instance, then "
    "serve.start()."
)
_WAS_UP_S = 2.0
"""If a call fails after this time, the controller was up: a new outage begins."""
_PING_INTERVAL_S = 35.0
"""Interval of liveness checks of the controller during a long call.

Longer than the 30 s after which the controller answers a `watch` without newer snapshots: that
answer shows that the controller lives.
"""
_PROBE_PAUSE_S = 0.2


class ControllerGone(ActorDied):
    """No controller runs, or the controller has no instance."""


class ControllerUnresponsive(ActorDied):
    """The controller's process runs and does not answer. A retry would not help."""


class OtherInstance(ServeError):
    """The running controller belongs to another instance. A retry would not help."""


def check_instance(info: InstanceInfo | None, instance: str) -> InstanceInfo:
    """Return a controller's answer to `join` if the answer is from the given instance. Pure.

    Raises:
        ControllerGone: The controller has no instance: the given one was shut down.
        OtherInstance: The controller has another instance.
    """
    if info is None:
        raise ControllerGone("no controller runs; the instance was shut down")
    if info.instance != instance:
        raise OtherInstance(_JOIN_OTHER)
    return info


def _ignore(info: InstanceInfo) -> None:
    pass


class ControllerClient:
    """Finds the controller of an instance, starts it if requested, and calls it.

    Args:
        instance: Name of the instance; "" until `join` sets it.
        learn: Called with the controller's answer to `join` each time the controller is found.

    Attributes:
        started: This client has started the controller.
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
        self._logging_retries: RetryState | None = None  # only one of the waiting calls logs

    async def join(self, config: Config | None, spec: ActorSpec) -> InstanceInfo | None:
        """Join the running instance or create one; return None if there is none to join.

        Args:
            config: Configuration of a new instance; None to join only.
            spec: Actor spec of a new controller, used with `config`.
        """
        controller = self.controller(JOIN_LIMITS, start=None if config is None else spec)
        try:
            info = await controller.join(config)
        except ControllerGone:
            return None
        if info is not None:
            self._instance = info.instance
        return info

    def controller(
        self, limits: RetryLimits = DRIVER_LIMITS, *, start: ActorSpec | None = None
    ) -> ControllerProtocol:
        """Return a stub whose calls find the controller and retry within limits.

        Each call may raise these errors in addition to its own: `ActorDied` for a controller that
        is gone or does not answer, `ClusterUnresponsive`, and `OtherInstance`.

        Args:
            start: Actor spec of the controller to start if none runs; None to start none.
        """
        call = functools.partial(self._call_with_retries, limits, start)
        return make_stub(ControllerProtocol, call)

    def forget(self) -> None:
        """Find the controller again at the next call, and call `learn` again."""
        self._actor = None

    async def wait_ended(self) -> None:
        """Wait until the instance has ended, or another one runs.

        A restart of the controller or an unresponsive cluster is not an end.
        """
        detector = EndDetector()
        logged = ""
        while True:
            try:
                result = await self._probe()
            except Exception as error:  # the loop must go on, or the end would be missed
                result = ProbeResult.UNKNOWN
                if logged != (logged := describe_error(error)):
                    log.exception("cannot check whether the instance still runs")
            if detector.observe(result):
                return
            await asyncio.sleep(_PROBE_PAUSE_S)

    async def _probe(self) -> ProbeResult:
        """Find the controller; if it belongs to this instance, wait until it has died."""
        try:
            actor = await self._cluster.find_actor(CONTROLLER_NAME)
            if actor is None:
                return ProbeResult.NOT_FOUND
            check_instance(await stub(ControllerProtocol, actor).join(), self._instance)
            await actor.wait_closed()
        except (OtherInstance, ControllerGone):
            return ProbeResult.OTHER_INSTANCE
        except (ActorDied, ActorUnresponsive, ClusterUnresponsive, ConfigError):
            return ProbeResult.UNKNOWN
        return ProbeResult.SAME_INSTANCE

    async def _call_with_retries(
        self, limits: RetryLimits, start: ActorSpec | None, call: RemoteCall
    ) -> Any:
        """Call the controller, and retry within limits if the call is repeatable.

        Raises:
            ServeError: The controller ended before it answered a call that is not repeatable.
        """
        loop = asyncio.get_running_loop()
        retries: RetryState | None = None
        try:
            while True:
                if not call.terms.repeatable:
                    self.forget()  # so that `_check` makes sure that the controller lives
                was_sent = False
                cause = FailureCause.CLUSTER_UNRESPONSIVE
                asked_at = math.inf
                try:
                    actor = await self._find(start)
                    cause, asked_at = FailureCause.RESTARTING, loop.time()
                    await self._check(actor)
                    was_sent = True
                    answer = await self._call(actor, call)
                    if retries is not None and retries is self._logging_retries:
                        retries.log_recovered(loop.time())
                    return answer
                except ControllerUnresponsive:
                    raise
                except (ActorDied, ClusterUnresponsive) as error:
                    self.forget()
                    if was_sent and not (call.terms.repeatable or isinstance(error, NotStarted)):
                        raise ServeError(
                            f"the controller ended before it answered {call.method!r}. The call "
                            "may have been carried out, so it was not repeated: check "
                            "serve.status() before you repeat it."
                        ) from error
                    if isinstance(error, ControllerGone):
                        cause = FailureCause.GONE
                    now = loop.time()
                    if retries is None or now - asked_at > _WAS_UP_S:
                        if retries is not None and retries is self._logging_retries:
                            retries.log_recovered(asked_at)  # it recovered before it failed again
                        retries = self._new_retries(retries, now, limits)
                    pause_s = retries.next_pause_s(cause, now)
                    if pause_s is None:
                        raise
                    if retries is self._logging_retries:
                        retries.log_waiting(now)
                    await asyncio.sleep(pause_s)
                except ServeError:
                    raise  # the controller's answer
                except Exception:
                    self.forget()
                    raise
        finally:
            if retries is self._logging_retries:
                self._logging_retries = None

    def _new_retries(
        self, before: RetryState | None, now: float, limits: RetryLimits
    ) -> RetryState:
        """Return the retry state of a new outage; the first of concurrent calls logs it."""
        retries = RetryState(now, limits)
        if self._logging_retries in (None, before):
            self._logging_retries = retries
        return retries

    async def _find(self, start: ActorSpec | None) -> Actor:
        """Return the running controller, of any instance.

        Raises:
            ControllerGone: No controller runs.
            OtherInstance: An earlier call has found another instance.
        """
        if self._is_other:
            raise OtherInstance(_JOIN_OTHER)
        if self._actor is not None:
            return self._actor
        actor = await self._cluster.find_actor(CONTROLLER_NAME)
        if actor is None and start is not None:
            # Of concurrent drivers, the second gets an error and retries.
            actor = await self._cluster.start_actor(start)
            self.started = True
        if actor is None:
            raise ControllerGone("no controller runs; the instance was shut down")
        return actor

    async def _check(self, actor: Actor) -> None:
        """Check, once per controller, that it belongs to this client's instance.

        Raises:
            OtherInstance: It belongs to another instance. All later calls raise this error, too.
        """
        if self._instance and actor is not self._actor:
            controller = make_stub(ControllerProtocol, functools.partial(self._call, actor))
            try:
                self._learn(check_instance(await controller.join(), self._instance))
            except OtherInstance:
                self._is_other = True
                raise
        self._actor = actor

    async def _call(self, actor: Actor, call: RemoteCall) -> Any:
        """Return the controller's answer; check its liveness during a long call."""
        asking = asyncio.create_task(send(actor, call))
        try:
            while not (await asyncio.wait((asking,), timeout=_PING_INTERVAL_S))[0]:
                if call.timeout_s is None:
                    await stub(ControllerProtocol, actor).join()
            return await asking
        except ActorUnresponsive as error:
            raise ControllerUnresponsive(
                f"{error}; if it does not recover, call serve.shutdown(force=True) to end the "
                "instance"
            ) from None
        finally:
            asking.cancel()
