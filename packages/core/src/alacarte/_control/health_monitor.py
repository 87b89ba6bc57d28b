"""Health checks and probes of one replica.

Checks are periodic while the replica serves, and cover the user's check and the event loop. A probe
follows a caller's report that the replica does not answer: an unresponsive process is found in
seconds, without three failed checks.
"""

from __future__ import annotations

import asyncio
import random
from typing import Protocol

from .._cluster.stubs import timeout_of
from .._model.deployment_spec import DeploymentSpec
from ..actors import ActorDied, ActorUnresponsive, Liveness, ReplicaProtocol
from ..errors import DeployError
from .health import Health, after_failure, after_success, judge, next_check_s

__all__ = ["MonitoredReplica", "HealthMonitor", "responds", "wait_unresponsive"]

_PROBE_TIMEOUT_S = timeout_of(ReplicaProtocol.probe_liveness)
"""Timeout of a probe, and the interval of probes of a process that cannot be reached."""
_NUM_PROBES = 3
"""Consecutive unanswered probes after which a process is unresponsive."""
_STARTING_NUM_PROBES = 150
"""The same during the constructor: loading a model may block all threads for minutes."""
_PROBE_PAUSE_S = 5.0
_UNRESPONSIVE = f"its process has not answered for {_NUM_PROBES * _PROBE_TIMEOUT_S:g} s"
_JITTER = 0.1


class MonitoredReplica(Protocol):
    """A replica that a `HealthMonitor` checks."""

    spec: DeploymentSpec

    @property
    def is_serving(self) -> bool:
        """Whether the replica accepts requests."""

    def fail(self, kind: str, error: Exception) -> None:
        """Report a failure of the replica."""

    def drain(self) -> None:
        """Let the replica finish its requests, then end it."""

    def changed(self) -> None:
        """Report a change of the replica's health."""


class HealthMonitor:
    """Monitors the health of one replica. Lives on the controller's loop.

    Attributes:
        health: Result of the periodic checks.
        is_unresponsive: The process does not answer probes.
    """

    def __init__(self, replica: MonitoredReplica) -> None:
        self.health = Health()
        self.is_unresponsive = False
        self._replica = replica
        self._probing: asyncio.Task[None] | None = None

    @property
    def is_healthy(self) -> bool:
        """Whether the replica may stay."""
        return self.health.is_healthy and not self.is_unresponsive

    @property
    def is_degraded(self) -> bool:
        """Whether requests should go to other replicas."""
        return self.is_unresponsive or self.health.is_degraded

    @property
    def message(self) -> str:
        """The replica's problem, "" if it is healthy."""
        return _UNRESPONSIVE if self.is_unresponsive else self.health.message

    async def monitor(self, process: ReplicaProtocol, *, has_health_check: bool) -> None:
        """Check the replica periodically until cancelled.

        Args:
            has_health_check: The user's class has a `check_health`.
        """
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        while True:
            config = self._replica.spec.config  # read each time: an update may change it
            period_s = config.health_check_period_s * random.uniform(1 - _JITTER, 1 + _JITTER)
            await asyncio.sleep(next_check_s(period_s, loop.time() - asked_at))
            asked_at = loop.time()
            limit_s = config.health_check_timeout_s
            problem = await self._check(process, limit_s, has_health_check=has_health_check)
            before = self.health
            if not problem:
                if before.failed_in_a_row:
                    self.health = after_success(before)
                    self._replica.changed()
                continue
            self.health = after_failure(before, problem)
            if self.health.is_healthy != before.is_healthy:
                self._replica.fail("health", DeployError(problem))
            self._replica.changed()

    async def _check(
        self, process: ReplicaProtocol, limit_s: float, *, has_health_check: bool
    ) -> str:
        """Check the replica once; return its problem, "" if it is healthy."""
        try:
            async with asyncio.timeout(limit_s):
                liveness = await _probe_liveness(process)
                if liveness.draining:
                    # On a former controller's `stop`, which may arrive long after that one's end.
                    self._replica.drain()
                    return ""
                if has_health_check:
                    await process.check_health()
        except ActorDied:
            return ""  # `ManagedReplica` handles the end of the process
        except TimeoutError:
            self.probe(process)
            return f"check_health has not returned within {limit_s:g} s"
        except Exception as error:  # the user's check
            return str(error)
        return judge(liveness, limit_s)

    def probe(self, process: ReplicaProtocol) -> None:
        """Probe a process that does not answer a caller."""
        if self._replica.is_serving and (self._probing is None or self._probing.done()):
            self._probing = asyncio.create_task(self._probe(process))

    async def _probe(self, process: ReplicaProtocol) -> None:
        """Probe the process until it answers; meanwhile the replica is unhealthy.

        The process is not killed: code that holds the interpreter lock looks the same, and may
        still finish its requests. The replica drains after its successor has started.
        """
        while self._replica.is_serving:
            is_unresponsive = not await responds(process, _NUM_PROBES)
            if is_unresponsive != self.is_unresponsive:
                if is_unresponsive:
                    self._replica.fail("health", DeployError(_UNRESPONSIVE))
                self.is_unresponsive = is_unresponsive
                self._replica.changed()
            if not is_unresponsive:
                return

    def close(self) -> None:
        """Cancel the probe in progress."""
        if self._probing is not None:
            self._probing.cancel()


async def _probe_liveness(process: ReplicaProtocol) -> Liveness:
    """Repeat a probe until the process answers."""
    while True:
        try:
            return await process.probe_liveness()
        except ActorUnresponsive:
            continue


async def responds(process: ReplicaProtocol, attempts: int) -> bool:
    """Return whether a process answers one of some probes, even with a blocked event loop."""
    loop = asyncio.get_running_loop()
    for _ in range(attempts):
        asked_at = loop.time()
        try:
            await process.probe_liveness()
            return True
        except ActorUnresponsive:
            continue
        except Exception:  # most likely ActorDied
            # The process may be unreachable for a moment, or its end may be reported soon.
            await asyncio.sleep(max(_PROBE_TIMEOUT_S / 2 - (loop.time() - asked_at), 0))
    return False


async def wait_unresponsive(process: ReplicaProtocol) -> str:
    """Wait until a starting process is unresponsive; return the error message."""
    while True:
        await asyncio.sleep(_PROBE_PAUSE_S)
        if not await responds(process, _STARTING_NUM_PROBES):
            return f"its process has not answered for {_STARTING_NUM_PROBES * _PROBE_TIMEOUT_S:g} s"
