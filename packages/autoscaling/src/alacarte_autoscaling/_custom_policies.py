"""Users' autoscaling policies as the controller asks them: in a process of their own.

All of an instance share it. One that ends it is found out: whoever was asked when it ended is asked
alone from then on, so it ends nobody else's question.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from alacarte.actors import ActorDied, ActorUnresponsive, terms_of
from alacarte.types import DeploymentId, HelperProcess, HelperProcesses

from ._policy_protocol import CustomPolicy, PolicyAnswer, PolicyProtocol
from .types import AutoscalingContext

__all__ = ["CustomPolicies", "PolicyFailure"]

POLICY_TARGET = "alacarte_autoscaling._policy_process:PolicyProcess"
LIMIT_S = 5.0
"""How long a policy may take to answer."""
_TERMS = terms_of(PolicyProtocol.ask)
assert _TERMS is not None
assert _TERMS.patience_s is not None
_ASK_PATIENCE_S = _TERMS.patience_s


class PolicyFailure(Exception):
    """A policy gave no number of replicas; the message says why."""


@dataclass(eq=False)
class _Process:
    """The policy process, and the deployments whose policies are being asked."""

    process: HelperProcess
    policies: PolicyProtocol
    asked: set[DeploymentId] = field(default_factory=set)
    asked_at_its_end: frozenset[DeploymentId] = frozenset()


class _Gate:
    """Lets questions in side by side, or one alone."""

    def __init__(self) -> None:
        self._inside = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self._alone = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        async with self._alone:
            self._inside += 1
            self._empty.clear()
        try:
            yield
        finally:
            self._inside -= 1
            if not self._inside:
                self._empty.set()

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        async with self._alone:
            await self._empty.wait()
            yield


class CustomPolicies:
    """The users' policies of one instance. Lives on the controller's loop.

    Args:
        processes: Starts and finds the process that runs them.
        limit_s: How long a policy may take to answer.
    """

    def __init__(self, processes: HelperProcesses, limit_s: float = LIMIT_S) -> None:
        self._processes = processes
        self._limit_s = limit_s
        self._process: _Process | None = None
        self._starting = asyncio.Lock()
        self._gate = _Gate()
        self._suspects: set[DeploymentId] = set()
        self._used_by: set[DeploymentId] = set()

    async def ask(
        self, deployment: DeploymentId, policy: CustomPolicy, context: AutoscalingContext
    ) -> float:
        """Return how many replicas a deployment's policy wants.

        Raises:
            PolicyFailure: It has not said so.
        """
        self._used_by.add(deployment)
        while True:
            alone = deployment in self._suspects
            async with self._gate.alone() if alone else self._gate.together():
                process = await self._found(policy)
                process.asked.add(deployment)
                try:
                    answer = await self._question(process, deployment, policy, context)
                except ActorDied as error:
                    guilty = self._ended(process) == {deployment}
                    self._suspects.add(deployment)
                    if guilty:
                        reason = f"the process that it runs in ended while it was asked: {error}"
                        raise PolicyFailure(reason) from None
                    continue
                finally:
                    process.asked.discard(deployment)
            self._suspects.discard(deployment)
            if answer.wanted is None:
                raise PolicyFailure(answer.failure)
            return answer.wanted

    async def forget(self, deployment: DeploymentId) -> None:
        """End a deployment's policy, and with the last one the process."""
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
        """End processes that a former controller started and nobody uses."""
        async with self._starting:
            mine = None if self._process is None else self._process.process.name
            if self._used_by and mine is None:
                return  # it may be found, with all that its policies remember
            for process in await self._processes.running():
                if process.name != mine:
                    process.kill()

    def stop(self) -> None:
        """End the process at once."""
        process, self._process = self._process, None
        if process is not None:
            process.process.kill()

    async def _question(
        self,
        process: _Process,
        deployment: DeploymentId,
        policy: CustomPolicy,
        context: AutoscalingContext,
    ) -> PolicyAnswer:
        question = (deployment, policy.digest, context, self._limit_s)
        # Of one call: to hand the policy over takes no patience of its own.
        patience_s = _ASK_PATIENCE_S + self._limit_s
        try:
            async with asyncio.timeout(patience_s):
                answer = await process.policies.ask(*question)
                if answer.is_unknown:
                    await process.policies.give(deployment, policy)
                    answer = await process.policies.ask(*question)
        except TimeoutError:
            # Something in there holds the interpreter, or the process is stopped.
            process.process.kill()
            raise ActorDied(f"its process has not answered for {patience_s:g} s") from None
        return answer

    def _ended(self, process: _Process) -> frozenset[DeploymentId]:
        """Drop a process that has ended; return the deployments that were being asked."""
        if self._process is process:
            self._process = None
        if not process.asked_at_its_end:
            # The first to notice: the others are still inside.
            process.asked_at_its_end = frozenset(process.asked)
        return process.asked_at_its_end

    async def _found(self, policy: CustomPolicy) -> _Process:
        """Return the process: the current one, a former controller's, or a new one."""
        async with self._starting:
            if self._process is None:
                try:
                    process = await self._adopted() or await self._started(policy)
                    self._process = _Process(process, process.stub(PolicyProtocol))
                except Exception as error:  # whatever the cluster has against it
                    raise PolicyFailure(
                        f"the process for autoscaling policies did not start: {error}"
                    ) from error
            return self._process

    async def _adopted(self) -> HelperProcess | None:
        for process in await self._processes.running():
            try:
                await process.stub(PolicyProtocol).ping()
            except (ActorDied, ActorUnresponsive):
                process.kill()
                continue
            return process
        return None

    async def _started(self, policy: CustomPolicy) -> HelperProcess:
        return await self._processes.start(POLICY_TARGET, import_paths=policy.code.import_paths)
