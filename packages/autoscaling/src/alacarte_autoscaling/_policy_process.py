"""Process of users' autoscaling policies, so that the controller loads no user code.

Each policy has its own thread and event loop, so a blocking policy does not delay other policies.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from alacarte import user_code
from alacarte.foreign import describe_error
from alacarte.types import DeploymentId

from ._policy_protocol import CustomPolicy, PolicyResult
from ._scaling_rule import InvalidDecision, parse_decision
from .types import AutoscalingContext

__all__ = ["PolicyProcess"]


class _PolicyThread:
    """A policy and its thread."""

    def __init__(self, name: str, policy: CustomPolicy) -> None:
        self.policy = policy
        self._thread = user_code.LoopThread(f"policy-{name}")
        self._function: Callable[[AutoscalingContext], object] | None = None
        self._state: dict[str, object] = {}
        self._pending: Future[PolicyResult] | None = None
        self._task: asyncio.Task[PolicyResult] | None = None

    async def decide(self, context: AutoscalingContext, limit_s: float) -> PolicyResult:
        loop = asyncio.get_running_loop()
        until = loop.time() + limit_s
        if not await _wait_done(self._pending, limit_s):
            return PolicyResult(failure="its previous decision is still pending")
        self._pending = self._thread.submit(self._run(context))
        if not await _wait_done(self._pending, until - loop.time()):
            # Cancels a coroutine, but not blocking code: then `_pending` is never done.
            self._thread.loop.call_soon_threadsafe(self._cancel)
            return PolicyResult(failure=f"it has not decided within {limit_s:g} s")
        if self._pending.cancelled():
            return PolicyResult(failure="it cancelled its own task")
        return self._pending.result()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self, context: AutoscalingContext) -> PolicyResult:
        """Call the policy in its thread. Catches every exception, SystemExit included."""
        self._task = asyncio.current_task()
        try:
            if self._function is None:
                self._function = self._load()
            value = self._function(replace(context, policy_state=self._state))
            if inspect.isawaitable(value):
                value = await value
            decision, state = parse_decision(value)
        except InvalidDecision as error:
            return PolicyResult(failure=str(error))
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            raised, trace = describe_error(error), user_code.user_traceback(error)
            return PolicyResult(failure=f"it raised {raised}\n{trace}")
        finally:
            self._task = None
        if state is not None:
            self._state = state
        return PolicyResult(decision)

    def _load(self) -> Any:
        target = user_code.load(self.policy.code, "an autoscaling policy")
        return target(**self.policy.kwargs) if inspect.isclass(target) else target

    def end(self) -> None:
        """Stop the policy's thread; a blocked thread is abandoned until the process ends."""
        if self._pending is None or self._pending.done():
            self._thread.stop()


class PolicyProcess:
    """Users' policies of one instance; the actor behind `PolicyProtocol`."""

    def __init__(self, context: object) -> None:
        self._policies: dict[DeploymentId, _PolicyThread] = {}

    async def ping(self) -> None:
        """Return at once; see `PolicyProtocol`."""

    async def add(self, deployment: DeploymentId, policy: CustomPolicy) -> None:
        """Add a deployment's policy, which its first decision loads."""
        known = self._policies.get(deployment)
        if known is not None and known.policy == policy:
            return
        await self.forget(deployment)
        self._policies[deployment] = _PolicyThread(str(deployment), policy)

    async def decide(
        self, deployment: DeploymentId, digest: str, context: AutoscalingContext, limit_s: float
    ) -> PolicyResult:
        """Return the decision of a deployment's policy. Never raises.

        Args:
            digest: Digest of the expected policy.
            limit_s: Time limit, in seconds.
        """
        policy = self._policies.get(deployment)
        if policy is None or policy.policy.digest != digest:
            return PolicyResult(is_unknown=True)
        return await policy.decide(context, limit_s)

    async def forget(self, deployment: DeploymentId) -> None:
        """Remove a deployment's policy."""
        policy = self._policies.pop(deployment, None)
        if policy is not None:
            await asyncio.get_running_loop().run_in_executor(None, policy.end)

    async def abort(self) -> None:
        """Stop all policies at the end of the process."""
        for deployment in list(self._policies):
            await self.forget(deployment)


async def _wait_done(pending: Future[PolicyResult] | None, timeout_s: float) -> bool:
    """Wait for a pending decision; return whether it is done within the time."""
    if pending is None or pending.done():
        return True
    done, _ = await asyncio.wait([asyncio.wrap_future(pending)], timeout=max(timeout_s, 0.0))
    return bool(done)
