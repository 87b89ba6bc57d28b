"""A replica's vital signs: the user's check, the event loop, and whether the process answers.

The checks recur for as long as the replica serves. A probe is extra: somebody has found the
replica silent, and a process that is stopped must not have to fail three checks first.
"""

from __future__ import annotations

import asyncio
import random
from typing import Protocol

from .._cluster.stubs import patience_of
from .._model.deployment_spec import DeploymentSpec
from ..actors import ActorDied, ActorUnresponsive, Liveness, ReplicaProtocol
from ..errors import DeployError
from .health import Health, after_failure, after_success, judge, next_check_s

__all__ = ["MonitoredReplica", "HealthMonitor", "answers", "wait_silent"]

_LIVENESS_S = patience_of(ReplicaProtocol.probe_liveness)
"""The time for an answer, and between two questions where no process can be reached."""
_NUM_PROBES = 3
"""After so many questions without an answer a process is unfit."""
_STARTING_NUM_PROBES = 150
"""The same while its constructor works: to load a model may stop all its threads for minutes."""
_PROBE_PAUSE_S = 5.0
_SILENT = f"its process has not answered for {_NUM_PROBES * _LIVENESS_S:g} s"
_JITTER = 0.1


class MonitoredReplica(Protocol):
    """The replica whose vital signs these are."""

    spec: DeploymentSpec

    @property
    def is_serving(self) -> bool:
        """Whether it takes requests."""

    def fail(self, kind: str, error: Exception) -> None:
        """Report a failure of it."""

    def drain(self) -> None:
        """Let it finish its requests, then end it."""

    def changed(self) -> None:
        """Note that its vital signs are different ones now."""


class HealthMonitor:
    """What is known of one replica's health. Lives on the controller's loop.

    Attributes:
        health: By the checks.
        is_silent: Its process does not answer.
    """

    def __init__(self, replica: MonitoredReplica) -> None:
        self.health = Health()
        self.is_silent = False
        self._replica = replica
        self._probing: asyncio.Task[None] | None = None

    @property
    def is_good(self) -> bool:
        """Whether the replica may stay."""
        return self.health.is_good and not self.is_silent

    @property
    def in_doubt(self) -> bool:
        """Whether requests should go to other replicas meanwhile."""
        return self.is_silent or self.health.wants_rest

    @property
    def message(self) -> str:
        """What is wrong, "" for nothing."""
        return _SILENT if self.is_silent else self.health.message

    async def monitor(self, process: ReplicaProtocol, *, checks_itself: bool) -> None:
        """Check the replica again and again, until this is cancelled.

        Args:
            checks_itself: The user's class has a check.
        """
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        while True:
            config = self._replica.spec.config  # which may change meanwhile
            period_s = config.health_check_period_s * random.uniform(1 - _JITTER, 1 + _JITTER)
            await asyncio.sleep(next_check_s(period_s, loop.time() - asked_at))
            asked_at = loop.time()
            limit_s = config.health_check_timeout_s
            wrong = await self._checked(process, limit_s, checks_itself=checks_itself)
            before = self.health
            if not wrong:
                if before.failed_in_a_row:
                    self.health = after_success(before)
                    self._replica.changed()
                continue
            self.health = after_failure(before, wrong)
            if self.health.is_good != before.is_good:
                self._replica.fail("health", DeployError(wrong))
            self._replica.changed()

    async def _checked(
        self, process: ReplicaProtocol, limit_s: float, *, checks_itself: bool
    ) -> str:
        """Check the replica once; return what is wrong, "" for nothing."""
        try:
            async with asyncio.timeout(limit_s):
                liveness = await _probe_liveness(process)
                if liveness.leaving:
                    # A former controller told it to; its word may come long after its end.
                    self._replica.drain()
                    return ""
                if checks_itself:
                    await process.check_health()
        except ActorDied:
            return ""  # its end is followed, and says why
        except TimeoutError:
            self.probe(process)
            return f"check_health has not returned within {limit_s:g} s"
        except Exception as error:  # the user's check
            return str(error)
        return judge(liveness, limit_s)

    def probe(self, process: ReplicaProtocol) -> None:
        """Find out whether the process is alive from which somebody hears nothing."""
        if self._replica.is_serving and (self._probing is None or self._probing.done()):
            self._probing = asyncio.create_task(self._probe(process))

    async def _probe(self, process: ReplicaProtocol) -> None:
        """Ask the process until it answers; as long as it does not, the replica is unfit.

        It is not ended: code that never lets go of the interpreter looks the same from here, and
        may yet finish its request. Its successor runs before it is told to leave.
        """
        while self._replica.is_serving:
            is_silent = not await answers(process, _NUM_PROBES)
            if is_silent != self.is_silent:
                if is_silent:
                    self._replica.fail("health", DeployError(_SILENT))
                self.is_silent = is_silent
                self._replica.changed()
            if not is_silent:
                return

    def close(self) -> None:
        """Probe no more."""
        if self._probing is not None:
            self._probing.cancel()


async def _probe_liveness(process: ReplicaProtocol) -> Liveness:
    """Probe a process, and repeat the probe until it answers."""
    while True:
        try:
            return await process.probe_liveness()
        except ActorUnresponsive:
            continue


async def answers(process: ReplicaProtocol, attempts: int) -> bool:
    """Return whether a process answers, in a thread of its own, whatever its event loop does."""
    loop = asyncio.get_running_loop()
    for _ in range(attempts):
        asked_at = loop.time()
        try:
            await process.probe_liveness()
            return True
        except ActorUnresponsive:
            continue
        except Exception:  # most likely ActorDied
            # Perhaps only out of reach for a moment; perhaps its end is about to be known.
            await asyncio.sleep(max(_LIVENESS_S / 2 - (loop.time() - asked_at), 0))
    return False


async def wait_silent(process: ReplicaProtocol) -> str:
    """Return when a starting process has not answered for as long as nothing can excuse.

    Returns:
        For how long, as a message.
    """
    while True:
        await asyncio.sleep(_PROBE_PAUSE_S)
        if not await answers(process, _STARTING_NUM_PROBES):
            return f"its process has not answered for {_STARTING_NUM_PROBES * _LIVENESS_S:g} s"
