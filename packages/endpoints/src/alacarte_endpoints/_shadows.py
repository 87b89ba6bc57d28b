"""Copies of a route's calls for its shadows, which never delay the original calls."""

from __future__ import annotations

import asyncio
import functools
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from alacarte.aio import close_iterator
from alacarte.errors import InvalidRequestError
from alacarte.types import Call, DeploymentId, Reply, Service

from ._call_counter import CallCounter
from ._shadow_body import (
    MAX_COPIES,
    ShadowBody,
    ShadowBudget,
    TeeBody,
    frozen_copy,
    shadow_call,
    size_of,
)

__all__ = ["COPY_LIMIT_S", "Failed", "Shadow", "Shadows"]

COPY_LIMIT_S = 60.0
"""Time limit of a copy, unless the original has less time."""
Failed = Callable[[Reply], bool]
"""Returns whether a reply stands for an error."""
_Outcome = tuple[float, bool]


@dataclass(slots=True)
class Shadow:
    """A deployment that gets copies of calls.

    Attributes:
        share: Share of the calls to copy, at most 1.
        budget: Budget for this shadow's copies in this process.
    """

    deployment: DeploymentId
    share: float
    service: Service
    budget: ShadowBudget
    counter: CallCounter = field(default_factory=CallCounter)


class Shadows:
    """Sends copies of the calls by one version of a route. Runs on the runtime's loop.

    Args:
        app: Application of calls that enter by the route; copies get the shadow's application.
        draw: Returns random numbers from 0 up to 1.
    """

    def __init__(
        self, app: str, shadows: list[Shadow], draw: Callable[[], float] = random.random
    ) -> None:
        self._app = app
        self._shadows = shadows
        self._draw = draw

    def wrap(self, service: Service, failed: Failed) -> Service:
        """Return a service that sends copies of its calls."""

        async def serve(call: Call) -> Reply:
            body = None if call.no_shadow else self._copy(call, failed)
            if body is None:
                return await service(call)
            reply = None
            try:
                reply = await service(call)
                return reply
            finally:
                # During a streaming reply, the target may still read the body.
                if reply is None or reply.rest is None:
                    body.drop_copies()

        return serve

    def _copy(self, call: Call, failed: Failed) -> TeeBody | None:
        """Start to send copies; return the call's new body where copies depend on the body."""
        size = size_of(call.payload)
        payload = None
        bodies = []
        limit_s = COPY_LIMIT_S
        now = time.monotonic()
        if call.deadline is not None:
            limit_s = min(limit_s, max(call.deadline - now, 0.0))
        for shadow in self._shadows:
            if shadow.share < 1 and self._draw() >= shadow.share:
                continue
            budget = shadow.budget
            if len(budget.tasks) >= MAX_COPIES or not budget.allows(size):
                shadow.counter.dropped += 1
                continue
            if payload is None:
                payload = frozen_copy(call.payload)
            body = None if call.body is None else ShadowBody(budget)
            copied = shadow_call(call, payload, body, now + limit_s, limit_s)
            if copied.app == self._app:
                copied.app = shadow.deployment.app
            # The task starts after the original call, which continues without awaiting.
            task = asyncio.create_task(_exchange(shadow.service, copied, failed))
            task.add_done_callback(functools.partial(_ended, shadow, body, size))
            budget.tasks.add(task)
            budget.bytes += size
            if body is not None:
                body.on_lost = task.cancel
                bodies.append(body)
        if call.body is None or not bodies:
            return None
        call.body = tee = TeeBody(call.body, bodies)
        return tee


def _ended(
    shadow: Shadow, body: ShadowBody | None, size: int, task: asyncio.Task[_Outcome]
) -> None:
    """Count a copy that has ended, or was cancelled before its start."""
    shadow.budget.tasks.discard(task)
    shadow.budget.bytes -= size
    if body is not None:
        body.discard()
    if task.cancelled():
        shadow.counter.dropped += 1
    else:
        shadow.counter.note(*task.result())


async def _exchange(service: Service, call: Call, failed: Failed) -> _Outcome:
    """Make a call and read its reply to the end, as a caller does; return the outcome."""
    began = time.perf_counter()
    outcome = None
    try:
        async with asyncio.timeout(call.timeout_s):
            reply = await service(call)
            outcome = time.perf_counter() - began, failed(reply)
            await _exhaust(reply)
    except InvalidRequestError:
        outcome = time.perf_counter() - began, False
    except Exception:  # counted only; the original call is not affected
        # As for an original call, the beginning of the reply decides.
        outcome = outcome or (time.perf_counter() - began, True)
    return outcome


async def _exhaust(reply: Reply) -> None:
    """Read a reply to its end, as a caller does."""
    if reply.rest is None:
        return
    try:
        async for _ in reply.rest:
            pass
    finally:
        await close_iterator(reply.rest)
