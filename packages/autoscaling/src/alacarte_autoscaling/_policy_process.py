"""The process in which users' autoscaling policies run, so that the controller loads no user code.

Each has a thread and an event loop of its own: one that blocks keeps nobody else from answering.
"""

from __future__ import annotations

import asyncio
import inspect
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from alacarte import user_code
from alacarte.foreign import describe_error
from alacarte.types import DeploymentId

from ._policy_protocol import CustomPolicy, PolicyAnswer
from ._scaling_rule import InvalidDecision, parse_decision
from .types import AutoscalingContext

__all__ = ["PolicyProcess"]


class _Running:
    """One policy, in a thread of its own."""

    def __init__(self, name: str, policy: CustomPolicy) -> None:
        self.policy = policy
        self._thread = user_code.LoopThread(f"policy-{name}")
        self._decide: Any = None
        self._state: dict[str, Any] = {}
        self._asked: Future[PolicyAnswer] | None = None
        self._task: asyncio.Task[Any] | None = None

    async def ask(self, context: AutoscalingContext, limit_s: float) -> PolicyAnswer:
        loop = asyncio.get_running_loop()
        until = loop.time() + limit_s
        if not await _ends(self._asked, limit_s):
            return PolicyAnswer(failure="it has still not answered an earlier question")
        self._asked = self._thread.submit(self._answer(context))
        if not await _ends(self._asked, until - loop.time()):
            # Which ends what awaits, and not what blocks; `_asked` shows which it is.
            self._thread.loop.call_soon_threadsafe(self._give_up)
            return PolicyAnswer(failure=f"it has not answered within {limit_s:g} s")
        if self._asked.cancelled():
            return PolicyAnswer(failure="it cancelled itself")
        return self._asked.result()

    def _give_up(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _answer(self, context: AutoscalingContext) -> PolicyAnswer:
        """Ask the policy on its own loop. No exception leaves, not even one that ends a process."""
        self._task = asyncio.current_task()
        try:
            if self._decide is None:
                self._decide = self._load()
            answer = self._decide(replace(context, policy_state=self._state))
            if inspect.isawaitable(answer):
                answer = await answer
            wanted, state = parse_decision(answer)
        except InvalidDecision as error:
            return PolicyAnswer(failure=str(error))
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            raised, trace = describe_error(error), user_code.user_traceback(error)
            return PolicyAnswer(failure=f"it raised {raised}\n{trace}")
        finally:
            self._task = None
        if state is not None:
            self._state = state
        return PolicyAnswer(wanted)

    def _load(self) -> Any:
        target = user_code.load(self.policy.code, "an autoscaling policy")
        return target(**self.policy.kwargs) if inspect.isclass(target) else target

    def end(self) -> None:
        """Stop the policy's thread; a blocked one is abandoned until the process ends."""
        if self._asked is None or self._asked.done():
            self._thread.stop()


class PolicyProcess:
    """All users' policies of one instance. Made and called through the cluster."""

    def __init__(self, context: object) -> None:
        self._policies: dict[DeploymentId, _Running] = {}

    async def ping(self) -> None:
        """Return at once; see `PolicyProtocol`."""

    async def give(self, deployment: DeploymentId, policy: CustomPolicy) -> None:
        """Take in a deployment's policy, which the first question loads."""
        known = self._policies.get(deployment)
        if known is not None and known.policy == policy:
            return
        await self.forget(deployment)
        self._policies[deployment] = _Running(str(deployment), policy)

    async def ask(
        self, deployment: DeploymentId, digest: str, context: AutoscalingContext, limit_s: float
    ) -> PolicyAnswer:
        """Ask a deployment's policy. Never raises.

        Args:
            digest: Of the policy that is meant.
            limit_s: How long it may take.
        """
        policy = self._policies.get(deployment)
        if policy is None or policy.policy.digest != digest:
            return PolicyAnswer(is_unknown=True)
        return await policy.ask(context, limit_s)

    async def forget(self, deployment: DeploymentId) -> None:
        """End a deployment's policy."""
        policy = self._policies.pop(deployment, None)
        if policy is not None:
            await asyncio.get_running_loop().run_in_executor(None, policy.end)

    async def abort(self) -> None:
        """End all policies, as the end of a process does."""
        for deployment in list(self._policies):
            await self.forget(deployment)


async def _ends(asked: Future[PolicyAnswer] | None, within_s: float) -> bool:
    """Return whether a question is answered within a time; its asker may be gone."""
    if asked is None or asked.done():
        return True
    done, _ = await asyncio.wait([asyncio.wrap_future(asked)], timeout=max(within_s, 0.0))
    return bool(done)
