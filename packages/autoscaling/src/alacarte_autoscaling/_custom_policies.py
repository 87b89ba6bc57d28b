"""Users' autoscaling policies, which run in a helper process beside the controller.

All policies of an instance share the process. When the process dies, each policy with a pending
decision becomes a suspect, and runs alone next time: a policy that kills the process again then
fails no other decision.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from alacarte.actors import ActorDied, ActorUnresponsive, terms_of
from alacarte.types import DeploymentId, HelperProcess, HelperProcesses

from ._policy_protocol import CustomPolicy, PolicyProtocol, PolicyResult
from .types import AutoscalingContext

__all__ = ["CustomPolicies", "PolicyFailure"]

POLICY_TARGET = "alacarte_autoscaling._policy_process:PolicyProcess"
LIMIT_S = 5.0
"""Time limit for a decision."""
_TERMS = terms_of(PolicyProtocol.decide)
assert _TERMS is not None
assert _TERMS.timeout_s is not None
_DECIDE_TIMEOUT_S = _TERMS.timeout_s


class PolicyFailure(Exception):
    """A policy has not decided on a number of replicas; the message gives the reason."""


@dataclass(eq=False)
class _Process:
    """The policy process, and the deployments with pending decisions."""

    process: HelperProcess
    policies: PolicyProtocol
    pending: set[DeploymentId] = field(default_factory=set)
    pending_at_death: frozenset[DeploymentId] = frozenset()


class _SharedLock:
    """A lock for many shared holders, or one exclusive holder."""

    def __init__(self) -> None:
        self._holders = 0
        self._free = asyncio.Event()
        self._free.set()
        self._exclusive = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        async with self._exclusive:
            self._holders += 1
            self._free.clear()
        try:
            yield
        finally:
            self._holders -= 1
            if not self._holders:
                self._free.set()

    @contextlib.asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        async with self._exclusive:
            await self._free.wait()
            yield


class CustomPolicies:
    """Users' policies of one instance. Runs on the controller's event loop.

    Args:
        processes: Starts and finds the policy process.
        limit_s: Time limit for a decision.
    """

    def __init__(self, processes: HelperProcesses, limit_s: float = LIMIT_S) -> None:
        self._processes = processes
        self._limit_s = limit_s
        self._process: _Process | None = None
        self._starting = asyncio.Lock()
        self._lock = _SharedLock()
        self._suspects: set[DeploymentId] = set()
        self._used_by: set[DeploymentId] = set()

    async def decide(
        self, deployment: DeploymentId, policy: CustomPolicy, context: AutoscalingContext
    ) -> float:
        """Return the number of replicas that a deployment's policy decides on.

        Raises:
            PolicyFailure: The policy has not decided.
        """
        self._used_by.add(deployment)
        while True:
            is_suspect = deployment in self._suspects
            async with self._lock.exclusive() if is_suspect else self._lock.shared():
                process = await self._find_process(policy)
                process.pending.add(deployment)
                try:
                    result = await self._call(process, deployment, policy, context)
                except ActorDied as error:
                    is_guilty = self._drop(process) == {deployment}
                    self._suspects.add(deployment)
                    if is_guilty:
                        reason = f"its process ended during the decision: {error}"
                        raise PolicyFailure(reason) from None
                    continue
                finally:
                    process.pending.discard(deployment)
            self._suspects.discard(deployment)
            if result.decision is None:
                raise PolicyFailure(result.failure)
            return result.decision

    async def forget(self, deployment: DeploymentId) -> None:
        """Remove a deployment's policy; end the process with the last policy."""
        self._suspects.discard(deployment)
        self._used_by.discard(deployment)
        process = self._process
        if process is None:
            return
        if not self._used_by:
            self.stop()
            return
        with contextlib.suppress(ActorDied, ActorUnresponsive):
            await process.policies.forget(deployment)

    async def end_orphans(self) -> None:
        """End unused processes that a previous controller started."""
        async with self._starting:
            current = None if self._process is None else self._process.process.name
            if self._used_by and current is None:
                return  # the next decision may adopt the process, with its policies' state
            for process in await self._processes.running():
                if process.name != current:
                    process.kill()

    def stop(self) -> None:
        """End the process at once."""
        process, self._process = self._process, None
        if process is not None:
            process.process.kill()

    async def _call(
        self,
        process: _Process,
        deployment: DeploymentId,
        policy: CustomPolicy,
        context: AutoscalingContext,
    ) -> PolicyResult:
        arguments = (deployment, policy.digest, context, self._limit_s)
        # For all calls together: `add` does not extend the timeout.
        timeout_s = _DECIDE_TIMEOUT_S + self._limit_s
        try:
            async with asyncio.timeout(timeout_s):
                result = await process.policies.decide(*arguments)
                if result.is_unknown:
                    await process.policies.add(deployment, policy)
                    result = await process.policies.decide(*arguments)
        except TimeoutError:
            # User code holds the interpreter's lock, or the process is suspended.
            process.process.kill()
            raise ActorDied(f"its process has not answered for {timeout_s:g} s") from None
        return result

    def _drop(self, process: _Process) -> frozenset[DeploymentId]:
        """Drop a dead process; return the deployments with pending decisions at its death."""
        if self._process is process:
            self._process = None
        if not process.pending_at_death:
            # The first caller to notice the death: the other calls are still pending.
            process.pending_at_death = frozenset(process.pending)
        return process.pending_at_death

    async def _find_process(self, policy: CustomPolicy) -> _Process:
        """Return the current process, a previous controller's, or a new process."""
        async with self._starting:
            if self._process is None:
                try:
                    process = await self._adopt() or await self._start(policy)
                    self._process = _Process(process, process.stub(PolicyProtocol))
                except Exception as error:  # any error of the cluster
                    raise PolicyFailure(
                        f"the process for autoscaling policies did not start: {error}"
                    ) from error
            return self._process

    async def _adopt(self) -> HelperProcess | None:
        for process in await self._processes.running():
            try:
                await process.stub(PolicyProtocol).ping()
            except (ActorDied, ActorUnresponsive):
                process.kill()
                continue
            return process
        return None

    async def _start(self, policy: CustomPolicy) -> HelperProcess:
        return await self._processes.start(POLICY_TARGET, import_paths=policy.code.import_paths)
